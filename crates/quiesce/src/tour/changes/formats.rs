//! Other format nodes over the same file, and other backends over the same
//! node.

use block_gs::{Backend, BqlGuard, IoThread, Node, Perm, iothreads};
use block_io::Request;

use super::{Changer, Kind, Outcome, Step, check_fixed_part, judge};
use crate::tour::failure::Failure;
use crate::tour::graph::open_format;

impl Changer {
    /// Opens a second format node beside one that is in use, and redirects
    /// the parents.
    pub(super) fn replace_format(&mut self, bql: &mut BqlGuard, number: usize) -> Outcome {
        let (disk, name) = self.choose(number);
        let old = self.world.groups[number].disks[disk].format.clone();
        let step = self.begin(format!("replace format '{}' by '{name}'", old.name()));
        let Some(new) = self.open_beside(bql, number, disk, &name, &step)? else {
            return Ok(Kind::Overtaken);
        };
        let mut section = old.drain(bql);
        self.check_quiet(&section, &old, &step)?;
        // A swap of the file could not come between: only this thread swaps.
        step.must(section.replace_with(&new))?;
        section.end();
        self.world.groups[number].disks[disk].format = new;
        Ok(Kind::FormatReplaced)
    }

    /// Gives a backend another node over the same contents. Filters directly
    /// below the backend would be cut off, so then it is left alone.
    pub(super) fn replace_below_backend(&mut self, bql: &mut BqlGuard, number: usize) -> Outcome {
        let (disk, name) = self.choose(number);
        let (backend, old) = {
            let disk = &self.world.groups[number].disks[disk];
            (disk.backend.clone(), disk.format.clone())
        };
        if backend.node(bql).as_ref() != Some(&old) {
            return self.replace_format(bql, number);
        }
        let step = self.begin(format!("give backend '{}' node '{name}'", backend.name()));
        let Some(new) = self.open_beside(bql, number, disk, &name, &step)? else {
            return Ok(Kind::Overtaken);
        };
        step.must(backend.replace(bql, &new))?;
        let now = backend.node(bql);
        // What I/O code inserted meanwhile is above the new node, or gone.
        step.promise(now.is_some_and(|now| now.contains(bql, &new)), || {
            format!("'{}' is not below backend '{}'", name, backend.name())
        })?;
        self.world.groups[number].disks[disk].format = new;
        Ok(Kind::BackendReplaced)
    }

    /// A backend of its own for a moment: inserted, used, removed.
    pub(super) fn probe(&mut self, bql: &mut BqlGuard, number: usize) -> Outcome {
        let (disk, _) = self.choose(number);
        let name = self.world.fresh_name("probe");
        let disk = &self.world.groups[number].disks[disk];
        let step = self.begin(format!("add backend '{name}' to '{}'", disk.format.name()));
        let probe = step.must(Backend::new(bql, &name, Perm::CONSISTENT_READ, Perm::all()))?;
        // Else the whole group would come to the main loop, where a new
        // backend is at home.
        let home = home_of(bql, &disk.format);
        step.must(probe.set_iothread(bql, home.as_ref()))?;
        probe.set_allow_context_change(bql, true);
        step.must(probe.insert(bql, &disk.format))?;
        let (root, contents) = (probe.root().clone(), &disk.target.contents);
        let outcome = bql.block_on(async {
            let in_flight = root.begin().await;
            check_fixed_part(in_flight.request()?, contents).await
        });
        judge(step.number, disk, outcome)?;
        probe.remove(bql);
        step.promise(probe.node(bql).is_none(), || {
            format!("backend '{name}' was emptied and has a node")
        })?;
        let medium = bql.block_on(root.length());
        step.promise(matches!(medium, Err(block_gs::IoError::NoMedium)), || {
            format!("backend '{name}' is empty, and a request got {medium:?}")
        })?;
        Ok(Kind::BackendProbed)
    }

    fn choose(&mut self, number: usize) -> (usize, String) {
        let disks = self.world.groups[number].disks.len() as u64;
        let name = self.world.fresh_name("raw");
        (self.rng.below(disks) as usize, name)
    }

    /// A format node with the same file and window as the one of a disk,
    /// without parents.
    fn open_beside(
        &self,
        bql: &mut BqlGuard,
        number: usize,
        disk: usize,
        name: &str,
        step: &Step,
    ) -> Result<Option<Node>, Failure> {
        let group = &self.world.groups[number];
        let disk = &group.disks[disk];
        let below = disk.format.view(bql).child("file");
        let Some(below) = below.map(|edge| edge.child().name().to_owned()) else {
            return Ok(None);
        };
        let Some(below) = Node::find(bql, &below) else {
            return Ok(None);
        };
        let new = step.must(open_format(bql, name, &below, disk.window, group.read_only))?;
        // Nobody is above yet; the owner of a section can read all the same.
        let mut section = new.drain(bql);
        let contents = &disk.target.contents;
        let outcome =
            section.io(async |request: Request<'_>| check_fixed_part(request, contents).await);
        judge(step.number, disk, outcome)?;
        section.end();
        Ok(Some(new))
    }
}

/// The iothread that a node is at home in; `None` for the main loop.
pub(super) fn home_of(bql: &BqlGuard, node: &Node) -> Option<IoThread> {
    let context = node.io().context();
    iothreads(bql).find(|iothread| *iothread.context() == context)
}
