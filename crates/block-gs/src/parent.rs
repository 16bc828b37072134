//! Parents that are neither nodes nor backends: jobs, mostly.

use std::fmt;
use std::sync::Arc;

use block_common::role::PermPair;
use block_common::{GraphError, Perm, Role};
use block_io::aio::AioContext;

use crate::graph::section::Section;
use crate::graph::write::{self, NewEdge, NewParent};
use crate::graph::{NodeKey, OtherParent, ParentKey, ParentRef};
use crate::layer::LayerShared;
use crate::node::EdgeId;
use crate::{BqlGuard, Node, context_change, permissions, reap};

/// What the graph asks of, and tells to, a parent of its own kind
/// (`BdrvChildClass`).
///
/// The drain callbacks get a shared proof: they cannot poll, and they cannot
/// change the graph under the walk that calls them (in C a comment says so).
/// A job pauses in [`drained_begin`](EdgeParent::drained_begin), reports in
/// [`drained_poll`](EdgeParent::drained_poll) whether it still runs, and goes
/// on after [`drained_end`](EdgeParent::drained_end). What the three need is
/// there, as [`Pause`](block_io::engine::Pause).
pub trait EdgeParent: Send + Sync + 'static {
    /// How messages name it: `stream job 's0'` (`get_parent_desc`).
    fn describe(&self) -> String;

    /// Stop sending requests. Called once for each edge whose child becomes
    /// quiesced.
    fn drained_begin(&self, _bql: &BqlGuard) {}

    /// Whether something is still under way. Whoever ends it calls
    /// [`MainLoop::kick`](crate::MainLoop::kick) afterwards, or the
    /// [waker](BqlGuard::waker) that was left with it here.
    fn drained_poll(&self, _bql: &BqlGuard) -> bool {
        false
    }

    /// Go on. Called once for each [`drained_begin`](EdgeParent::drained_begin).
    fn drained_end(&self, _bql: &BqlGuard) {}

    /// The node has got another length, by a truncation that is over
    /// (`BdrvChildClass.resize`). Called for each edge, once for each
    /// truncation, in the main loop.
    fn resized(&self, _bql: &BqlGuard) {}

    /// Whether edges stay with their node when parents are redirected from
    /// one node to another (`stay_at_node`).
    fn stays_at_node(&self) -> bool {
        false
    }

    /// Another process is about to take the node over
    /// (`BdrvChildClass.inactivate`). Called for each edge.
    ///
    /// # Errors
    /// The node stays active.
    fn inactivate(&self, _bql: &BqlGuard) -> Result<(), GraphError> {
        Ok(())
    }

    /// The node is ours again (`BdrvChildClass.activate`). Called for each
    /// edge.
    ///
    /// # Errors
    /// The node stays inactive.
    fn activate(&self, _bql: &BqlGuard) -> Result<(), GraphError> {
        Ok(())
    }

    /// Where the parent works, if it matters: what is attached to it comes
    /// there (`get_parent_aio_context`). By default it does not matter before
    /// the first node is attached; from then on all are in one context.
    fn context(&self) -> Option<AioContext> {
        None
    }

    /// Whether the parent follows its nodes to another context
    /// (`change_aio_ctx`).
    ///
    /// # Errors
    /// Refusals; [`GraphError::ContextNotSupported`] by default.
    fn may_change_context(&self, _bql: &BqlGuard, _context: &AioContext) -> Result<(), GraphError> {
        Err(GraphError::ContextNotSupported(self.describe()))
    }

    /// The nodes have moved. Everything is drained.
    fn context_changed(&self, _bql: &BqlGuard, _context: &AioContext) {}
}

/// A registered parent, and its edges. Dropping it lets the main loop remove
/// them.
pub struct Parent {
    key: ParentKey,
    layer: Arc<LayerShared>,
    class: Arc<dyn EdgeParent>,
}

impl fmt::Debug for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parent({})", self.class.describe())
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        let key = self.key;
        self.layer
            .schedule_reap(Box::new(move |bql| reap::reap_parent(bql, key)));
    }
}

impl Parent {
    /// Registers a parent without edges.
    pub fn new(bql: &mut BqlGuard, class: Arc<dyn EdgeParent>) -> Parent {
        let key = bql.graph_mut().others.insert(OtherParent {
            class: Arc::clone(&class),
            edges: Default::default(),
        });
        Parent {
            key,
            layer: Arc::clone(bql.state().shared()),
            class,
        }
    }

    /// Adds an edge to `node` (`block_job_add_bdrv`). Such an edge carries no
    /// requests, hence the parent needs not be drained; if the node is, the
    /// parent is told so before this returns.
    ///
    /// The nodes of a parent are in one context. So the node comes to that of
    /// the parent, or else the parent, with the nodes that it has, to that of
    /// the node.
    ///
    /// # Errors
    /// [`GraphError::PermissionConflict`] and the other refusals of the
    /// permission system; why the node cannot come, when the parent cannot go
    /// either. Nothing has changed then.
    pub fn attach(
        &self,
        bql: &mut BqlGuard,
        name: &str,
        node: &Node,
        perm: Perm,
        shared: Perm,
    ) -> Result<EdgeId, GraphError> {
        let child = node.key(bql);
        self.check_may_attach(bql, child, perm)?;
        let mut moved = Vec::new();
        let attached = loop {
            context_change::merge_parent(bql, self.key(bql), node, &mut moved)?;
            // Moving polls.
            if let Err(error) = self.check_may_attach(bql, child, perm) {
                break Err(error);
            }
            if self.is_with(bql, node) {
                break self.attach_here(bql, name, child, PermPair { perm, shared });
            }
        };
        if attached.is_err() {
            context_change::move_back(bql, moved);
        }
        attached
    }

    /// The layer may be closing, and have let the parent go.
    fn check_may_attach(
        &self,
        bql: &BqlGuard,
        child: NodeKey,
        perm: Perm,
    ) -> Result<(), GraphError> {
        if !bql.graph().others.contains_key(self.key(bql)) {
            return Err(GraphError::StaleEdge);
        }
        bql.graph().check_not_closing(child)?;
        permissions::check_inactive(bql.graph(), child, perm)
    }

    /// Whether the node is in the context of those that the parent has.
    fn is_with(&self, bql: &BqlGuard, node: &Node) -> bool {
        let graph = bql.graph();
        let first = graph.others[self.key(bql)].edges.first();
        let held = first.map(|&edge| graph.node(graph.edges[edge].child));
        held.is_none_or(|held| held.io.context() == node.io().context())
    }

    /// Adds an edge to a node that is in the parent's context.
    fn attach_here(
        &self,
        bql: &mut BqlGuard,
        name: &str,
        child: NodeKey,
        perms: PermPair,
    ) -> Result<EdgeId, GraphError> {
        let parent = self.key(bql);
        let new = NewEdge {
            parent: NewParent::Other(parent),
            name,
            role: Role::empty(),
            child,
            perm: perms.perm,
            shared: perms.shared,
        };
        let before = bql.graph().others[parent].edges.len();
        let attachment = Attachment {
            bql,
            parent,
            before,
            granted: false,
        };
        let key = write::link(attachment.bql, &Section::default(), new);
        attachment.ask(child)?;
        Ok(EdgeId {
            layer: bql.layer_id(),
            key,
        })
    }

    /// Removes an edge of this parent. The node goes back to the main loop,
    /// unless others keep it where it is.
    ///
    /// # Errors
    /// [`GraphError::StaleEdge`] when it is gone, or not this parent's.
    pub fn detach(&self, bql: &mut BqlGuard, edge: EdgeId) -> Result<(), GraphError> {
        edge.view(bql)?;
        if bql.graph().edges[edge.key].parent != ParentRef::Other(self.key(bql)) {
            return Err(GraphError::StaleEdge);
        }
        let child = Node::of(bql, bql.graph().edges[edge.key].child);
        write::unlink(bql, &Section::default(), edge.key);
        reap::free_edge(bql, edge.key);
        context_change::go_back(bql, &child);
        Ok(())
    }

    fn key(&self, bql: &BqlGuard) -> ParentKey {
        assert!(
            self.layer.id() == bql.layer_id(),
            "{} belongs to another block layer than the one this thread is in",
            self.class.describe()
        );
        self.key
    }
}

/// An edge that nobody has agreed to yet. Unless permissions are granted,
/// dropping it takes the edge away again, also when a callback panics.
struct Attachment<'b> {
    bql: &'b mut BqlGuard,
    parent: ParentKey,
    /// How many edges the parent had before.
    before: usize,
    granted: bool,
}

impl Attachment<'_> {
    fn ask(mut self, child: NodeKey) -> Result<(), GraphError> {
        permissions::refresh(self.bql, [child])?;
        self.granted = true;
        Ok(())
    }
}

impl Drop for Attachment<'_> {
    fn drop(&mut self) {
        if self.granted {
            return;
        }
        let edges = &self.bql.graph().others[self.parent].edges;
        if let Some(&edge) = edges.get(self.before) {
            write::unlink(self.bql, &Section::default(), edge);
            write::free(self.bql, edge);
        }
    }
}
