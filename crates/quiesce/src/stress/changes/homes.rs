//! Moves between threads.

use block_gs::BqlGuard;

use super::{Changer, Outcome, words};

impl Changer {
    /// Moves a disk to another thread, asked at a backend or at a node.
    pub(super) fn move_disk(&mut self, bql: &mut BqlGuard, number: usize) -> Outcome {
        let to = match self.rng.once_in(8) {
            true => None,
            false => self.rng.pick(&self.iothreads).cloned(),
        };
        let held = &self.disks[number];
        let place = to.as_ref().map_or("the main loop", |thread| thread.name());
        self.begin(format!("move '{}' to {place}", held.disk.name));
        match self.rng.below(3) {
            0 => held.backend.set_iothread(bql, to.as_ref()),
            1 => held.reader.set_iothread(bql, to.as_ref()),
            _ => held.file.set_iothread(bql, to.as_ref()),
        }
        .map_err(words)?;
        let expected = to.map_or_else(|| bql.context().clone(), |to| to.context().clone());
        let held = &self.disks[number];
        for node in held.chain(bql) {
            if node.io().context() != expected {
                return Err(format!("'{}' stayed behind", node.name()));
            }
        }
        for backend in [&held.backend, &held.reader] {
            if backend.root().context() != expected {
                return Err(format!("'{}' stayed behind", backend.name()));
            }
        }
        Ok("moves between threads")
    }
}
