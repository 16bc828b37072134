//! Handles of nodes, and what can be seen through them.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use block_common::{BlockLimits, GraphError, ParentDescription, Perm, Role};
use block_io::IoNode;
use block_io::aio::AioContext;

use crate::driver::BlockDriver;
use crate::graph::{EdgeKey, Graph, NodeKey, ParentRef};
use crate::layer::LayerShared;
use crate::{BqlGuard, Operations, reap};

/// A strong reference to a node (`BlockDriverState *` with its reference
/// counted).
///
/// `Send + Sync`. It can be cloned, kept and dropped on any thread, across
/// any poll; dropping the last one lets the main loop delete the node if
/// nothing else refers to it (`bdrv_unref`, deferred). What it takes to *use*
/// it differs: global-state methods take a `BqlGuard`. I/O takes a request,
/// and a handle gives none.
#[derive(Clone)]
pub struct Node(Arc<NodeHold>);

/// The share that all handles of a node have in its life.
pub(crate) struct NodeHold {
    key: NodeKey,
    io: Arc<IoNode>,
    layer: Arc<LayerShared>,
}

impl Drop for NodeHold {
    fn drop(&mut self) {
        let key = self.key;
        self.layer
            .schedule_reap(Box::new(move |bql| reap::reap_node(bql, key)));
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({})", self.0.io.name())
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0.io, &other.0.io)
    }
}

impl Eq for Node {}

impl Node {
    /// A handle of a node of the graph.
    pub(crate) fn of(bql: &BqlGuard, key: NodeKey) -> Node {
        let node = bql.graph().node(key);
        let mut known = node.hold.borrow_mut();
        if let Some(hold) = known.upgrade() {
            return Node(hold);
        }
        let hold = Arc::new(NodeHold {
            key,
            io: Arc::clone(&node.io),
            layer: Arc::clone(bql.state().shared()),
        });
        *known = Arc::downgrade(&hold);
        Node(hold)
    }

    /// The key, in the layer that this thread is in.
    ///
    /// # Panics
    /// When the node belongs to another layer.
    pub(crate) fn key(&self, bql: &BqlGuard) -> NodeKey {
        assert!(
            self.0.layer.id() == bql.layer_id(),
            "node '{}' belongs to another block layer than the one this thread is in",
            self.name()
        );
        assert!(
            bql.graph().nodes.contains_key(self.0.key),
            "node '{}' has been closed",
            self.name()
        );
        self.0.key
    }

    /// Whether the graph still has the node: its block layer may have closed
    /// it although this handle exists.
    pub(crate) fn is_open(&self, bql: &BqlGuard) -> bool {
        self.0.layer.id() == bql.layer_id() && bql.graph().nodes.contains_key(self.0.key)
    }

    pub(crate) fn is(&self, key: NodeKey) -> bool {
        self.0.key == key
    }

    /// The name (`bdrv_get_node_name`). Needs no proof: it never changes.
    pub fn name(&self) -> &str {
        self.0.io.name()
    }

    /// The node as requests see it: its length, its context.
    pub fn io(&self) -> &Arc<IoNode> {
        &self.0.io
    }

    /// The node's driver, if it is a `D`. Needs no proof: each function of a
    /// driver asks for its own.
    pub fn driver<D: BlockDriver>(&self) -> Option<&D> {
        let driver: &dyn Any = self.0.io.driver();
        driver.downcast_ref()
    }

    /// The length in bytes that requests see; see [`NodeView::length`].
    ///
    /// # Panics
    /// When the node belongs to another block layer.
    pub fn length(&self, bql: &BqlGuard) -> u64 {
        self.view(bql).length()
    }

    /// Looks the node up in the graph. The view, and whatever is reached
    /// through it, borrows the guard: it cannot be kept across anything that
    /// polls.
    ///
    /// # Panics
    /// When the node belongs to another block layer.
    pub fn view<'b>(&self, bql: &'b BqlGuard) -> NodeView<'b> {
        NodeView {
            bql,
            key: self.key(bql),
        }
    }

    /// The node called `name` (`bdrv_find_node`).
    pub fn find(bql: &BqlGuard, name: &str) -> Option<Node> {
        let key = bql.graph().node_by_name(name)?;
        let is_closing = bql.graph().node(key).closing;
        (!is_closing).then(|| Node::of(bql, key))
    }

    /// The node that a user means by `name`: a backend's, or one called so
    /// (`bdrv_lookup_bs`).
    ///
    /// # Errors
    /// As [`lookup_by`](Node::lookup_by) with `name` for both.
    pub fn lookup(bql: &BqlGuard, name: &str) -> Result<Node, GraphError> {
        Node::lookup_by(bql, Some(name), Some(name))
    }

    /// Whether `other` is this node or somewhere below it.
    pub fn contains(&self, bql: &mut BqlGuard, other: &Node) -> bool {
        let (above, below) = (self.key(bql), other.key(bql));
        bql.graph_mut().is_in_subtree(below, above)
    }

    /// Gives the node to the monitor, which keeps it alive until
    /// [`delete`](Node::delete) (`blockdev-add`).
    pub fn set_monitor_owned(&self, bql: &mut BqlGuard) {
        let key = self.key(bql);
        bql.graph_mut().nodes[key].monitor_owned = true;
    }

    /// Takes the node from the monitor and gives up this reference
    /// (`blockdev-del`). The node is closed, and freed, when the main loop
    /// next runs.
    ///
    /// # Errors
    /// [`GraphError::NodeInUse`] with a backend above,
    /// [`GraphError::Blocked`], [`GraphError::NotMonitorOwned`], [`GraphError::DeviceInUse`] with any
    /// other parent.
    pub fn delete(self, bql: &mut BqlGuard) -> Result<(), GraphError> {
        let key = self.key(bql);
        let graph = bql.graph();
        let node = graph.node(key);
        if self.view(bql).has_backend() {
            return Err(GraphError::NodeInUse(self.name().into()));
        }
        self.view(bql).check_operations(Operations::DRIVE_DEL)?;
        if !node.monitor_owned {
            return Err(GraphError::NotMonitorOwned(self.name().into()));
        }
        if !node.parents.is_empty() {
            return Err(GraphError::DeviceInUse(self.name().into()));
        }
        bql.graph_mut().nodes[key].monitor_owned = false;
        Ok(())
    }
}

/// All nodes, oldest first (`bdrv_next_node`). The iterator borrows the
/// guard: the graph cannot change under it.
pub fn nodes<'b>(bql: &'b BqlGuard) -> impl Iterator<Item = NodeView<'b>> + use<'b> {
    let keys = bql.graph().all_nodes();
    keys.map(move |key| NodeView { bql, key })
}

/// A node of the graph, for as long as nothing can change it.
#[derive(Clone, Copy)]
pub struct NodeView<'g> {
    pub(crate) bql: &'g BqlGuard,
    pub(crate) key: NodeKey,
}

impl fmt::Debug for NodeView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeView({})", self.name())
    }
}

impl PartialEq for NodeView<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for NodeView<'_> {}

impl<'g> NodeView<'g> {
    pub(crate) fn graph(self) -> &'g Graph {
        self.bql.graph()
    }

    /// The name.
    pub fn name(self) -> &'g str {
        self.graph().name(self.key)
    }

    /// A handle, which can be kept across polls.
    pub fn node(self, bql: &BqlGuard) -> Node {
        Node::of(bql, self.key)
    }

    /// The driver's global-state half.
    pub fn driver(self) -> &'g dyn BlockDriver {
        &*self.graph().node(self.key).driver
    }

    /// The node as requests see it.
    pub fn io(self) -> &'g Arc<IoNode> {
        &self.graph().node(self.key).io
    }

    /// The node's context (`bdrv_get_aio_context`).
    pub fn context(self) -> AioContext {
        self.io().context()
    }

    /// The edges below, oldest first.
    pub fn children(self) -> impl Iterator<Item = EdgeView<'g>> {
        self.edges(&self.graph().node(self.key).children)
    }

    /// The edges above, newest first.
    pub fn parents(self) -> impl Iterator<Item = EdgeView<'g>> {
        self.edges(&self.graph().node(self.key).parents)
    }

    fn edges(self, keys: &'g [EdgeKey]) -> impl Iterator<Item = EdgeView<'g>> {
        let bql = self.bql;
        keys.iter().map(move |&key| EdgeView { bql, key })
    }

    /// The edge below called `name`.
    pub fn child(self, name: &str) -> Option<EdgeView<'g>> {
        let key = self.graph().child_edge(self.key, name)?;
        Some(EdgeView { bql: self.bql, key })
    }

    /// How many reasons there are for the node's parents to send nothing
    /// (`bs->quiesce_counter`).
    pub fn quiesce_count(self) -> u32 {
        self.graph().node(self.key).quiesce
    }

    /// The length in bytes that requests see (`bdrv_getlength`): of the first
    /// node below, itself included, that does not only pass requests on.
    pub fn length(self) -> u64 {
        let mut key = self.key;
        while self.graph().node(key).io.is_transparent()
            && let Some(file) = self.graph().child_edge(key, "file")
        {
            key = self.graph().edges[file].child;
        }
        self.graph().node(key).io.length()
    }

    /// What the node needs of its requests.
    pub fn limits(self) -> BlockLimits {
        self.graph().node(self.key).limits
    }

    /// Whether the node is open for reading only (`bdrv_is_read_only`).
    pub fn is_read_only(self) -> bool {
        !self.graph().node(self.key).writable
    }

    /// Whether the node is open for writing, and not owned by another process
    /// (`bdrv_is_writable`).
    pub fn is_writable(self) -> bool {
        let node = self.graph().node(self.key);
        node.writable && !node.inactive
    }

    /// Whether the monitor owns the node.
    pub fn is_monitor_owned(self) -> bool {
        self.graph().node(self.key).monitor_owned
    }

    /// What all parents together do with the node
    /// (`bdrv_get_cumulative_perm`).
    pub fn cumulative_perm(self) -> Perm {
        self.graph().cumulative(self.key).perm
    }

    /// What all parents together let others do with the node.
    pub fn cumulative_shared(self) -> Perm {
        self.graph().cumulative(self.key).shared
    }
}

/// Finds an edge again after a poll. `Send + Sync`, `Copy`; an edge that is
/// gone meanwhile is not found.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct EdgeId {
    pub(crate) layer: crate::layer::LayerId,
    pub(crate) key: EdgeKey,
}

impl EdgeId {
    /// Looks the edge up in the graph.
    ///
    /// # Errors
    /// [`GraphError::StaleEdge`] when it is gone.
    ///
    /// # Panics
    /// When the edge belongs to another block layer.
    pub fn view(self, bql: &BqlGuard) -> Result<EdgeView<'_>, GraphError> {
        assert!(
            self.layer == bql.layer_id(),
            "this edge belongs to another block layer than the one this thread is in"
        );
        if !bql.graph().edges.contains_key(self.key) {
            return Err(GraphError::StaleEdge);
        }
        Ok(EdgeView { bql, key: self.key })
    }
}

/// An edge of the graph, for as long as nothing can change it (`BdrvChild`).
#[derive(Clone, Copy)]
pub struct EdgeView<'g> {
    pub(crate) bql: &'g BqlGuard,
    pub(crate) key: EdgeKey,
}

impl fmt::Debug for EdgeView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parent, child) = (self.parent(), self.child().name());
        write!(f, "EdgeView({parent} -> '{child}' as '{}')", self.name())
    }
}

impl<'g> EdgeView<'g> {
    pub(crate) fn graph(self) -> &'g Graph {
        self.bql.graph()
    }

    fn state(self) -> &'g crate::graph::EdgeState {
        &self.graph().edges[self.key]
    }

    /// What finds the edge again after a poll.
    pub fn id(self, bql: &BqlGuard) -> EdgeId {
        EdgeId {
            layer: bql.layer_id(),
            key: self.key,
        }
    }

    /// The name: `file`, `backing`, `root`.
    pub fn name(self) -> &'g str {
        &self.state().name
    }

    /// What the child is for.
    pub fn role(self) -> Role {
        self.state().role
    }

    /// Who is above.
    pub fn parent(self) -> ParentDescription {
        self.graph().describe(self.state().parent)
    }

    /// The node above, if it is one.
    pub fn parent_node(self) -> Option<NodeView<'g>> {
        match self.state().parent {
            ParentRef::Node(key) => Some(NodeView { bql: self.bql, key }),
            _ => None,
        }
    }

    /// The node below.
    pub fn child(self) -> NodeView<'g> {
        NodeView {
            bql: self.bql,
            key: self.state().child,
        }
    }

    /// What the parent does with the child.
    pub fn perm(self) -> Perm {
        self.state().perm
    }

    /// What the parent lets others do with the child.
    pub fn shared(self) -> Perm {
        self.state().shared
    }

    /// Whether the parent is quiesced because of this child.
    pub fn has_quiesced_parent(self) -> bool {
        self.state().quiesced_parent
    }

    /// Whether a frozen chain runs through the edge.
    pub fn is_frozen(self) -> bool {
        self.state().frozen > 0
    }
}
