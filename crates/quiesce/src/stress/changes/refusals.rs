//! What must be refused, with nothing left behind.

use block_drivers::NullCo;
use block_gs::{Backend, BqlGuard, Perm, Role};

use super::{Changer, Outcome, words};
use crate::draw::Snapshot;

impl Changer {
    /// Tries something that would break the graph.
    pub(super) fn be_refused(&mut self, bql: &mut BqlGuard, number: usize) -> Outcome {
        let name = self.fresh_name("refused");
        let held = &self.disks[number];
        let chain = held.chain(bql);
        let (Some(top), file) = (chain.first().cloned(), held.file.clone()) else {
            return Ok("nothing to do");
        };
        drop(chain);
        let names = [
            held.backend.name().to_owned(),
            held.reader.name().to_owned(),
        ];
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let before = Snapshot::take(bql).reached_from(&names);
        let attempt = self.rng.below(4);
        self.begin(format!(
            "be refused (attempt {attempt}) at '{}'",
            top.name()
        ));
        let refused = match attempt {
            0 => file.drain(bql).attach_child("loop", &top, Role::DATA),
            1 => {
                let greedy = Backend::new(bql, &name, Perm::empty(), Perm::RESIZE);
                greedy.map_err(words)?.insert(bql, &top)
            }
            2 => {
                // The first change alone would be fine.
                let blank = NullCo::new(top.length(bql))
                    .open(bql, &name)
                    .map_err(words)?;
                let mut section = top.drain(bql);
                let mut changes = section.transaction();
                changes.replace_with(&blank);
                changes.at(&blank).attach_child("loop", &blank, Role::DATA);
                changes.commit()
            }
            _ => {
                let reader = &self.disks[number].reader;
                let perm = Perm::CONSISTENT_READ;
                reader.set_perm(bql, perm, Perm::CONSISTENT_READ)
            }
        };
        if refused.is_ok() {
            return Err("it was not refused".to_owned());
        }
        let after = Snapshot::take(bql).reached_from(&names);
        match before == after {
            true => Ok("refused and rolled back"),
            false => Err("a refused change left something behind".to_owned()),
        }
    }
}
