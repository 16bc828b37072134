//! Closing a whole block layer (`bdrv_close_all`).

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::{BqlGuard, backend, reap};

/// Detaches every backend, closes every node, stops every iothread.
///
/// Handles may survive; they refer to nothing then. Requests still parked get
/// to run and find no medium. A driver that panics keeps nobody else from
/// being closed; its panic goes on afterwards.
pub(crate) fn close_all(bql: &mut BqlGuard) {
    let mut closing = Closing { bql, panic: None };
    closing.step(BqlGuard::settle);
    closing.step(|bql| {
        let extensions = std::mem::take(&mut bql.graph_mut().extensions);
        drop(extensions);
    });
    closing.cut();
    closing.step(BqlGuard::settle);
    // Nodes go from here on although there may be handles, so nothing that has
    // one may run. And no iothread may wait for us while we wait for it.
    closing.bql.state().shared().close();
    // What ran until now may have made new links.
    closing.cut();
    // Whatever handles keep alive goes top down, until nothing is left.
    let mut failures = 0;
    while let Some(key) = parentless(closing.bql) {
        closing.bql.graph_mut().nodes[key].monitor_owned = false;
        if !closing.step(|bql| reap::delete_node(bql, key)) {
            failures += 1;
            if failures > closing.bql.graph().nodes.len() * TRIES {
                break;
            }
        }
        closing.step(BqlGuard::settle);
    }
    let iothreads = std::mem::take(&mut closing.bql.graph_mut().iothreads);
    for (_, thread) in iothreads {
        // Its tasks are dropped there; a thread that panicked has said so.
        let _ = thread.stop();
    }
    closing.step(BqlGuard::settle);
    if let Some(panic) = closing.panic
        && !std::thread::panicking()
    {
        resume_unwind(panic);
    }
}

/// How often closing a node may panic before it is left open.
const TRIES: usize = 4;

/// Everything being closed, and the first panic on the way.
struct Closing<'b> {
    bql: &'b mut BqlGuard,
    panic: Option<Box<dyn Any + Send>>,
}

impl Closing<'_> {
    /// Takes the nodes away from all backends and other parents.
    fn cut(&mut self) {
        for key in self.bql.graph().backends.keys().collect::<Vec<_>>() {
            self.step(|bql| {
                // What runs while we wait may have removed it.
                let Some(state) = bql.graph_mut().backends.get_mut(key) else {
                    return;
                };
                // A device may keep its own attachment, and so itself.
                let kept = (state.monitor.take(), state.device.take());
                let root = state.root.clone();
                root.set_device(bql.access(), None);
                backend::detach(bql, key);
                backend::let_go(bql, key);
                drop(kept);
            });
        }
        for key in self.bql.graph().others.keys().collect::<Vec<_>>() {
            self.step(|bql| reap::reap_parent(bql, key));
        }
    }

    /// Says whether nothing has panicked. What has is tried once more: it
    /// may have been somebody else who was in the way.
    fn step(&mut self, step: impl Fn(&mut BqlGuard)) -> bool {
        for _ in 0..2 {
            let outcome = catch_unwind(AssertUnwindSafe(|| step(self.bql)));
            let Err(panic) = outcome else { return true };
            self.panic.get_or_insert(panic);
        }
        false
    }
}

fn parentless(bql: &BqlGuard) -> Option<crate::graph::NodeKey> {
    let graph = bql.graph();
    let mut nodes = graph.all_nodes().rev();
    nodes.find(|&key| {
        let node = graph.node(key);
        node.parents.is_empty() && !node.closing
    })
}
