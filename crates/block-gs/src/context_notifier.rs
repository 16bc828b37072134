//! Hearing of a node's moves between AioContexts.

use std::fmt;
use std::sync::Arc;

use block_io::aio::AioContext;

use crate::graph::NodeKey;
use crate::layer::LayerShared;
use crate::{BqlGuard, Node};

/// Hears of a node's moves to another context (`BdrvAioNotifier`): for what
/// keeps timers or file descriptors beside a node. The node is drained when it
/// moves. The callbacks get a shared proof, so they cannot poll.
pub trait ContextNotifier: Send + Sync + 'static {
    /// The node leaves `context` (`detach_aio_context`).
    fn detached(&self, _bql: &BqlGuard, _context: &AioContext) {}

    /// The node has arrived in `context` (`attached_aio_context`).
    fn attached(&self, _bql: &BqlGuard, _context: &AioContext) {}
}

/// One registration.
#[derive(Clone)]
pub(crate) struct Registered {
    id: u64,
    notifier: Arc<dyn ContextNotifier>,
}

/// A registered [`ContextNotifier`]: it hears of moves while this value exists
/// (`bdrv_add_aio_context_notifier` to `bdrv_remove_aio_context_notifier`). It
/// keeps the node alive. Dropped on any thread it ends when the main loop next
/// runs, by [`end`](ContextNotification::end) at once.
#[must_use = "the notifier hears of nothing once this is dropped"]
pub struct ContextNotification {
    layer: Arc<LayerShared>,
    node: Option<Node>,
    id: u64,
}

impl fmt::Debug for ContextNotification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.node.as_ref().map_or("", Node::name);
        write!(f, "ContextNotification({name})")
    }
}

impl Node {
    /// Lets `notifier` hear of the node's moves. Of the notifiers of a node
    /// the oldest hears first.
    pub fn notify_of_context(
        &self,
        bql: &mut BqlGuard,
        notifier: Arc<dyn ContextNotifier>,
    ) -> ContextNotification {
        let key = self.key(bql);
        let layer = Arc::clone(bql.state().shared());
        let graph = bql.graph_mut();
        graph.notifiers += 1;
        let id = graph.notifiers;
        let notifiers = &mut graph.nodes[key].context_notifiers;
        notifiers.push(Registered { id, notifier });
        ContextNotification {
            layer,
            node: Some(self.clone()),
            id,
        }
    }
}

impl ContextNotification {
    /// Ends it, at once.
    pub fn end(mut self, bql: &mut BqlGuard) {
        if let Some(node) = self.node.take() {
            remove(bql, &node, self.id);
        }
    }
}

impl Drop for ContextNotification {
    fn drop(&mut self) {
        let Some(node) = self.node.take() else {
            return;
        };
        let id = self.id;
        self.layer.schedule(Box::new(move |bql| {
            // The layer may have closed the node although it had a handle.
            if node.is_open(bql) {
                remove(bql, &node, id);
            }
        }));
    }
}

fn remove(bql: &mut BqlGuard, node: &Node, id: u64) {
    let key = node.key(bql);
    let notifiers = &mut bql.graph_mut().nodes[key].context_notifiers;
    notifiers.retain(|known| known.id != id);
}

/// Tells everybody who wants to hear that the node leaves `context`.
pub(crate) fn detached(bql: &BqlGuard, node: NodeKey, context: &AioContext) {
    for known in &bql.graph().node(node).context_notifiers {
        known.notifier.detached(bql, context);
    }
}

/// Tells everybody who wants to hear that the node has arrived in `context`.
pub(crate) fn attached(bql: &BqlGuard, node: NodeKey, context: &AioContext) {
    for known in &bql.graph().node(node).context_notifiers {
        known.notifier.attached(bql, context);
    }
}
