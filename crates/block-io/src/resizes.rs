//! Which nodes have got another length.
//!
//! The truncation of a filter is one of the node below it too. Whoever stands
//! above both is to hear of it once, and when all of it is done. So the main
//! loop is told which truncations have ended and which are under way, as of one
//! moment: what stands above one that is under way hears when that ends.

use std::fmt;
use std::sync::OnceLock;

use block_common::sync::Mutex;

use crate::{GsAccess, NodeUid};

/// The truncations of a block layer.
#[derive(Default)]
pub struct Resizes {
    state: Mutex<State>,
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

#[derive(Default)]
struct State {
    running: Vec<NodeUid>,
    ended: Vec<NodeUid>,
}

impl fmt::Debug for Resizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        let (running, ended) = (state.running.len(), state.ended.len());
        write!(f, "Resizes({running} running, {ended} ended)")
    }
}

impl Resizes {
    /// Sets who is called, on any thread, when there is something to
    /// [take](Resizes::take). Once.
    pub fn set_wake(&self, wake: impl Fn() + Send + Sync + 'static) {
        let first = self.wake.set(Box::new(wake));
        debug_assert!(first.is_ok(), "there is one main loop");
    }

    /// The nodes that have got another length since this was last asked, and
    /// those that are about to.
    pub fn take(&self, _gs: &GsAccess) -> (Vec<NodeUid>, Vec<NodeUid>) {
        let mut state = self.state.lock();
        (std::mem::take(&mut state.ended), state.running.clone())
    }

    /// The length of a node is about to change.
    pub(crate) fn begin(&self, node: NodeUid) -> Resizing<'_> {
        self.state.lock().running.push(node);
        Resizing {
            resizes: self,
            node,
            changed: true,
        }
    }
}

/// A truncation that is under way. Who gives it up half way has perhaps changed
/// the length.
#[must_use]
#[derive(Debug)]
pub(crate) struct Resizing<'e> {
    resizes: &'e Resizes,
    node: NodeUid,
    changed: bool,
}

impl Resizing<'_> {
    /// It has failed, and the length is what it was.
    pub(crate) fn not_changed(mut self) {
        self.changed = false;
    }
}

impl Drop for Resizing<'_> {
    fn drop(&mut self) {
        let mut state = self.resizes.state.lock();
        let place = state.running.iter().position(|&node| node == self.node);
        if let Some(place) = place {
            state.running.swap_remove(place);
        }
        if !self.changed {
            return;
        }
        state.ended.push(self.node);
        drop(state);
        if let Some(wake) = self.resizes.wake.get() {
            wake();
        }
    }
}
