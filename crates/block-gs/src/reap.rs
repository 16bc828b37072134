//! Taking away what nobody refers to any more.
//!
//! A reference can be dropped on any thread and in the middle of any graph
//! operation, but closing a node polls. So a drop only asks the main loop to
//! look, and this is where it looks (`bdrv_schedule_unref`).

use std::sync::Arc;

use block_io::Request;

use crate::graph::section::{Scope, Section};
use crate::graph::write;
use crate::graph::{BackendKey, EdgeKey, NodeKey, ParentKey};
use crate::{BqlGuard, Node, buffers, context_change, owner_io, permissions};

/// Forgets an edge that has been taken out: its child's other parents may do
/// more now, and it may have been the last.
pub(crate) fn free_edge(bql: &mut BqlGuard, edge: EdgeKey) {
    let child = write::free(bql, edge);
    permissions::loosen(bql, child);
    schedule_node(bql, child);
}

/// Lets the main loop look whether anybody still refers to the node.
pub(crate) fn schedule_node(bql: &BqlGuard, key: NodeKey) {
    let shared = bql.state().shared();
    shared.schedule_reap(Box::new(move |bql| reap_node(bql, key)));
}

/// Closes and frees the node unless somebody refers to it.
pub(crate) fn reap_node(bql: &mut BqlGuard, key: NodeKey) {
    if is_unreferenced(bql, key) {
        delete_node(bql, key);
    }
}

fn is_unreferenced(bql: &BqlGuard, key: NodeKey) -> bool {
    bql.graph().nodes.get(key).is_some_and(|node| {
        node.parents.is_empty()
            && node.hold.borrow().strong_count() == 0
            && !node.monitor_owned
            && !node.closing
    })
}

/// Closes the node and takes it out of the graph (`bdrv_close`,
/// `bdrv_delete`). Its children lose a parent and are looked at in turn; they go
/// back to the main loop unless others keep them where they are.
///
/// A panic in its driver, or in what runs while it is drained, leaves it in
/// the graph for another try, which asks the driver for nothing more.
pub(crate) fn delete_node(bql: &mut BqlGuard, key: NodeKey) {
    let leaving = Leaving::begin(bql, key);
    let node = Node::of(leaving.bql, key);
    let mut scope = Scope::open(leaving.bql, [node.clone()]);
    let state = &mut scope.bql.graph_mut().nodes[key];
    if state.opened && !std::mem::replace(&mut state.farewell, true) {
        // Nobody is left to whom the error could be reported; what the
        // writers cared about they have flushed themselves.
        let farewell = Farewell(&mut scope, key);
        // What another process owns is not stored here.
        if !node.view(farewell.0.bql).is_inactive() {
            let _ = node.drain(farewell.0.bql).store_bitmaps();
            let driver = Arc::clone(&farewell.0.bql.graph().node(key).driver);
            let _ = driver.inactivate(&mut node.drain(farewell.0.bql));
        }
        let flush = async |request: Request<'_>| request.flush().await;
        let _ = owner_io::run(farewell.0.bql, &node, &farewell.0.section, flush);
        farewell.0.settle();
        buffers::forget_all(farewell.0.bql, key);
        drop(farewell);
    }
    scope.settle();
    let mut children = Vec::new();
    while let Some(&edge) = scope.bql.graph().node(key).children.last() {
        let child = scope.bql.graph().edges[edge].child;
        children.push(Node::of(scope.bql, child));
        scope.bql.graph_mut().edges[edge].frozen = 0;
        write::unlink(scope.bql, &scope.section, edge);
        free_edge(scope.bql, edge);
    }
    drop(scope);
    // Sections over everything end here for this node: what is parked at its
    // gate has to find out that nothing is left.
    while leaving.bql.graph().node(key).quiesce > 0 {
        let effects = leaving.bql.graph_mut().unquiesce(key);
        effects.run(leaving.bql);
    }
    // Requests hold no node, only roots and edges do, and none is left; the
    // I/O half goes with its last handle.
    leaving.bql.graph_mut().remove_node(key);
    for child in children {
        context_change::go_back(leaving.bql, &child);
    }
}

/// A node on its way out, which nobody may attach to. Stays otherwise if a
/// panic passes by before it is gone.
struct Leaving<'b> {
    bql: &'b mut BqlGuard,
    key: NodeKey,
}

impl<'b> Leaving<'b> {
    fn begin(bql: &'b mut BqlGuard, key: NodeKey) -> Self {
        bql.graph_mut().nodes[key].closing = true;
        Leaving { bql, key }
    }
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if let Some(node) = self.bql.graph_mut().nodes.get_mut(self.key) {
            node.closing = false;
            schedule_node(self.bql, self.key);
        }
    }
}

/// Closes the driver when dropped: also when storing or flushing has panicked.
struct Farewell<'f, 'a>(&'f mut Scope<'a>, NodeKey);

impl Drop for Farewell<'_, '_> {
    fn drop(&mut self) {
        let bql = &mut *self.0.bql;
        let driver = Arc::clone(&bql.graph().node(self.1).driver);
        driver.close(bql);
    }
}

/// Removes a backend that nobody refers to.
pub(crate) fn reap_backend(bql: &mut BqlGuard, key: BackendKey) {
    let unreferenced = |bql: &BqlGuard| {
        let backend = bql.graph().backends.get(key);
        backend.is_some_and(|backend| backend.hold.strong_count() == 0)
    };
    if unreferenced(bql) {
        crate::backend::detach(bql, key);
        crate::backend::let_go(bql, key);
        bql.graph_mut().backends.remove(key);
    }
}

/// Removes a parent of another kind, with its edges. Its nodes go back to the
/// main loop unless others keep them where they are.
pub(crate) fn reap_parent(bql: &mut BqlGuard, key: ParentKey) {
    let mut children = Vec::new();
    while let Some(&edge) = bql
        .graph()
        .others
        .get(key)
        .and_then(|parent| parent.edges.last())
    {
        children.push(Node::of(bql, bql.graph().edges[edge].child));
        write::unlink(bql, &Section::default(), edge);
        free_edge(bql, edge);
    }
    bql.graph_mut().others.remove(key);
    for child in children {
        context_change::go_back(bql, &child);
    }
}
