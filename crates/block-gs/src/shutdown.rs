//! Closing a whole block layer (`bdrv_close_all`).

use crate::{BqlGuard, backend, reap};

/// Detaches every backend, closes every node, stops every iothread.
///
/// Handles may survive; they refer to nothing then. Requests still parked get
/// to run and find no medium.
pub(crate) fn close_all(bql: &mut BqlGuard) {
    bql.settle();
    let extensions = std::mem::take(&mut bql.graph_mut().extensions);
    drop(extensions);
    for key in bql.graph().backends.keys().collect::<Vec<_>>() {
        backend::detach(bql, key);
    }
    for key in bql.graph().others.keys().collect::<Vec<_>>() {
        reap::reap_parent(bql, key);
    }
    bql.settle();
    // Nodes go from here on although there may be handles, so nothing that has
    // one may run. And no iothread may wait for us while we wait for it.
    bql.state().shared().close();
    // Whatever handles keep alive goes top down, until nothing is left.
    while let Some(key) = parentless(bql) {
        bql.graph_mut().nodes[key].monitor_owned = false;
        reap::delete_node(bql, key);
        bql.settle();
    }
    let iothreads = std::mem::take(&mut bql.graph_mut().iothreads);
    for (_, thread) in iothreads {
        // Its tasks are dropped there; a thread that panicked has said so.
        let _ = thread.stop();
    }
    bql.settle();
}

fn parentless(bql: &BqlGuard) -> Option<crate::graph::NodeKey> {
    let graph = bql.graph();
    let mut nodes = graph.all_nodes().rev();
    nodes.find(|&key| {
        let node = graph.node(key);
        node.parents.is_empty() && !node.closing
    })
}
