//! A root as the engine sees it: a gate, and a value behind it.
//!
//! **Fenced module.** The contracts of [`GatedCell`] are what the models are
//! about. A mutant breaks them; loom then panics at the access, before the
//! pointer is followed.

use std::future::poll_fn;

use block_io::engine::{Count, Faults, Gate, GatedCell};

use crate::block_on;

/// A [`GatedCell`] together with what a root does with it.
pub struct Root<F: Faults> {
    cell: GatedCell<u32, F>,
}

impl<F: Faults> Root<F> {
    /// An open root over the child 0.
    pub fn new(shards: usize) -> Self {
        Root {
            cell: GatedCell::new(shards, 0),
        }
    }

    /// The door.
    pub fn gate(&self) -> &Gate<F> {
        self.cell.gate()
    }

    /// Begins a request, waiting while the root is closed.
    pub fn begin(&self, shard: usize) -> Count {
        block_on(self.gate().begin(shard))
    }

    /// Which child the request sees.
    pub fn child(&self, count: &Count) -> u32 {
        // SAFETY: models begin `count` at this root and end it later.
        unsafe { *self.cell.get(count) }
    }

    /// A whole request: begins, looks at the child twice, ends. Returns which
    /// child it saw.
    pub fn request(&self, shard: usize) -> u32 {
        let count = self.begin(shard);
        let child = self.child(&count);
        assert_eq!(
            child,
            self.child(&count),
            "the child changed during a request"
        );
        self.gate().end(count);
        child
    }

    /// Closes the gate and waits until nothing is in flight.
    pub fn drain(&self) {
        self.gate().close();
        self.wait_until_idle();
    }

    /// Waits until nothing is in flight.
    pub fn wait_until_idle(&self) {
        block_on(poll_fn(|cx| self.gate().poll_idle(cx)));
    }

    /// Puts another child below. A quiesced one takes over the reason for
    /// which the gate is closed, otherwise the gate loses it. To loom this is
    /// a write: it fails when a request may look.
    pub fn replace(&self, child: u32, is_quiesced: bool) -> u32 {
        // SAFETY: models call this between `drain` and `open`, in one thread.
        unsafe { self.cell.replace(child, is_quiesced) }
    }
}
