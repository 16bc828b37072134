//! What must be refused, in the right words and with nothing left behind.

use block_drivers::{File, NullCo};
use block_gs::{Backend, BqlGuard, GraphError, Node, Perm, Role};

use super::formats::home_of;
use super::{Changer, Kind, Outcome, Step};
use crate::draw::Snapshot;
use crate::tour::failure::Failure;

/// An attempt: what came of it, and what should have been said.
type Attempt = (Result<(), GraphError>, String);

impl Changer {
    /// Tries something that would break the graph. It must be refused in
    /// QEMU's words, and what requests see must be as it was.
    pub(super) fn be_refused(&mut self, bql: &mut BqlGuard, number: usize) -> Outcome {
        let disk = self.rng.below(self.world.groups[number].disks.len() as u64) as usize;
        let blank = self.world.fresh_name("blank");
        let (attempt, at_home) = (self.rng.below(7), self.rng.once_in(2));
        let group = &self.world.groups[number];
        let other = group.other_path();
        let attempt = match attempt {
            3 if other.is_none() => 4,
            attempt => attempt,
        };
        let (format, file) = (group.disks[disk].format.clone(), group.file.clone());
        let names: Vec<&str> = group.disks.iter().map(|disk| disk.backend.name()).collect();
        let seen = |bql: &BqlGuard| Snapshot::take(bql).reached_from(&names);
        let (changed_before, before) = (self.changed_by_io(), seen(bql));
        let what = match attempt {
            0 => format!("attach '{}' below itself", format.name()),
            1 => format!(
                "change two edges of '{}', the second into a cycle",
                group.name
            ),
            2 => format!("add a backend that does not share '{}'", format.name()),
            3 => format!("put a read-only file below '{}'", format.name()),
            4 => format!("change a frozen link below '{}'", format.name()),
            5 => format!("detach a child that '{}' does not have", format.name()),
            _ => format!("drop '{}' as if it were a filter", file.name()),
        };
        let step = self.begin(format!("be refused: {what}"));
        let (outcome, words) = match attempt {
            0 => cycle(bql, &file, &format),
            1 => half_a_transaction(bql, &step, &blank, &format)?,
            2 => group.movable(bql, |bql| conflict(bql, &step, &blank, &format, at_home))?,
            3 => {
                let file = File::at(other.unwrap_or_default()).read_only(true);
                let file = step.must(file.open(bql, &blank))?;
                read_only_file(bql, &format, &file)
            }
            4 => {
                let (edge, below) = match group.chain() {
                    Some(chain) if chain.layers.len() > 1 => ("backing", &chain.layers[0].node),
                    _ => ("file", &file),
                };
                frozen(bql, &step, &blank, &format, (edge, below))?
            }
            5 => {
                let words = format!("Node '{}' does not have child 'nobody'", format.name());
                (format.drain(bql).detach_child("nobody"), words)
            }
            _ => {
                let words = format!("Node '{}' is not a filter", file.name());
                (file.drain(bql).drop_filter(), words)
            }
        };
        step.promise(outcome.is_err(), || format!("this was not refused: {what}"))?;
        // What I/O code asked for meanwhile may well have changed something,
        // also who is in the way.
        if self.changed_by_io() != changed_before {
            return Ok(Kind::Refused);
        }
        step.promise(
            matches!(&outcome, Err(error) if error.to_string() == words),
            || format!("expected the refusal \"{words}\", got {outcome:?}"),
        )?;
        let after = seen(bql);
        step.promise(before == after, || {
            format!("a refused change left something behind: {before:#?} became {after:#?}")
        })?;
        Ok(Kind::Refused)
    }
}

fn cycle(bql: &mut BqlGuard, file: &Node, format: &Node) -> Attempt {
    let outcome = file.drain(bql).attach_child("loop", format, Role::DATA);
    (outcome, cycle_words(file, format))
}

fn cycle_words(parent: &Node, child: &Node) -> String {
    format!(
        "Making '{}' a loop child of '{}' would create a cycle",
        child.name(),
        parent.name()
    )
}

/// The first change alone would be fine, and would make every request go to a
/// device without contents. The second, a cycle only because of the first, is
/// refused and takes the first back before any request could notice.
fn half_a_transaction(
    bql: &mut BqlGuard,
    step: &Step,
    blank: &str,
    format: &Node,
) -> Result<Attempt, Failure> {
    let blank = step.must(NullCo::new(format.io().length()).open(bql, blank))?;
    let mut section = format.drain(bql);
    let mut changes = section.transaction();
    changes.replace_child("file", &blank);
    changes.at(&blank).attach_child("loop", format, Role::DATA);
    let outcome = changes.commit();
    section.end();
    let home = blank.io().context();
    step.promise(home == *bql.context(), || {
        format!(
            "'{}' was not brought back from {}",
            blank.name(),
            home.name()
        )
    })?;
    Ok((outcome, cycle_words(&blank, format)))
}

/// A backend that is not at home where the node is makes the node come to it,
/// and then go back.
fn conflict(
    bql: &mut BqlGuard,
    step: &Step,
    name: &str,
    node: &Node,
    at_home: bool,
) -> Result<Attempt, Failure> {
    let name = &format!("greedy-{name}");
    let shared = Perm::WRITE_UNCHANGED | Perm::RESIZE;
    let greedy = step.must(Backend::new(bql, name, Perm::empty(), shared))?;
    let home = home_of(bql, node).filter(|_| at_home);
    step.must(greedy.set_iothread(bql, home.as_ref()))?;
    let outcome = greedy.insert(bql, node);
    step.promise(greedy.node(bql).is_none(), || {
        format!("backend '{name}' was refused its node and has one")
    })?;
    // Who is in the way is the first parent that asks for more than that.
    let in_the_way = node
        .view(bql)
        .parents()
        .find(|edge| !(edge.perm() - shared).is_empty());
    let words = in_the_way.map_or_else(String::new, |edge| {
        format!(
            "Permission conflict on node '{node}': permissions '{}' are both required by {} (uses \
             node '{node}' as '{}' child) and unshared by block device '{name}' (uses node \
             '{node}' as 'root' child).",
            edge.perm() - shared,
            edge.parent(),
            edge.name(),
            node = node.name(),
        )
    });
    Ok((outcome, words))
}

fn read_only_file(bql: &mut BqlGuard, format: &Node, file: &Node) -> Attempt {
    let outcome = format.drain(bql).replace_child("file", file);
    (outcome, "Block node is read-only".to_owned())
}

/// A window is no link of a chain, so where one is there is nothing to
/// freeze, and that is what is said.
fn frozen(
    bql: &mut BqlGuard,
    step: &Step,
    blank: &str,
    format: &Node,
    (edge, below): (&str, &Node),
) -> Result<Attempt, Failure> {
    let chain = match format.freeze_chain(bql, below) {
        Ok(chain) => chain,
        Err(error) => {
            let words = format!(
                "'{}' is not in the backing chain of '{}'",
                below.name(),
                format.name()
            );
            return Ok((Err(error), words));
        }
    };
    let blank = step.must(NullCo::new(format.io().length()).open(bql, blank))?;
    let child = format
        .view(bql)
        .child(edge)
        .map(|edge| edge.child().name().to_owned());
    let words = format!(
        "Cannot change frozen '{edge}' link from '{}' to '{}'",
        format.name(),
        child.unwrap_or_default()
    );
    let outcome = format.drain(bql).replace_child(edge, &blank);
    chain.thaw(bql);
    Ok((outcome, words))
}
