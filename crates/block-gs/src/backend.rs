//! Backends: the roots of the graph, global-state half.

use std::fmt;
use std::sync::Arc;

use block_common::role::PermPair;
use block_common::{GraphError, Perm, Role, names};
use block_io::Root;
use block_io::aio::AioContext;
use block_io::engine::NoFaults;
use block_io::engine::moving::move_home;

use crate::graph::section::{ClosedRoot, Scope, Section};
use crate::graph::write::{self, NewEdge, NewParent};
use crate::graph::{BackendKey, BackendState, EdgeKey, NodeKey};
use crate::layer::LayerShared;
use crate::{BqlGuard, IoThread, Node, buffers, context_change, permissions, reap};

/// A strong reference to a backend (`BlockBackend`): what a device, a job or
/// an export does its I/O through.
///
/// `Send + Sync`, cloned and dropped anywhere. Requests go through its
/// [`Root`], from any number of threads at once and without a proof of global
/// state. Everything that changes the backend takes a `BqlGuard`.
#[derive(Clone)]
pub struct Backend(Arc<BackendHold>);

pub(crate) struct BackendHold {
    key: BackendKey,
    root: Root,
    layer: Arc<LayerShared>,
}

impl Drop for BackendHold {
    fn drop(&mut self) {
        let key = self.key;
        self.layer
            .schedule_reap(Box::new(move |bql| reap::reap_backend(bql, key)));
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Backend({})", self.name())
    }
}

/// How often a backend is looked at that others change at the same time.
const TRIES: u32 = 16;

impl Backend {
    /// A backend without a node, at home in the main loop (`blk_new`). An
    /// empty name makes it an unnamed one. `perm` is what it will do with its
    /// node, `shared` what it lets others do.
    ///
    /// # Errors
    /// [`GraphError::DuplicateBackend`], [`GraphError::DeviceNameIsNode`],
    /// [`GraphError::InvalidNodeName`] for a malformed name.
    pub fn new(
        bql: &mut BqlGuard,
        name: &str,
        perm: Perm,
        shared: Perm,
    ) -> Result<Backend, GraphError> {
        bql.reap();
        if !name.is_empty() {
            names::check_node_name(name)?;
            if bql.graph().backend_by_name(name).is_some() {
                return Err(GraphError::DuplicateBackend(name.to_owned()));
            }
            if bql.graph().node_by_name(name).is_some() {
                return Err(GraphError::DeviceNameIsNode(name.to_owned()));
            }
        }
        let events = Arc::clone(bql.events());
        let root = Root::telling(name, bql.context().clone(), events);
        let layer = Arc::clone(bql.state().shared());
        let backends = &mut bql.graph_mut().backends;
        let key = backends.insert(BackendState {
            name: name.to_owned(),
            root: root.clone(),
            edge: None,
            perm,
            shared,
            allow_context_change: false,
            inactive: false,
            force_allow_inactivate: false,
            hold: Default::default(),
            monitor: None,
            device: None,
            device_quiesced: Default::default(),
            closed_at: Default::default(),
            root_state: Default::default(),
        });
        let hold = Arc::new(BackendHold { key, root, layer });
        backends[key].hold = Arc::downgrade(&hold);
        Ok(Backend(hold))
    }

    /// The backend called `name` (`blk_by_name`).
    pub fn find(bql: &BqlGuard, name: &str) -> Option<Backend> {
        let key = bql.graph().backend_by_name(name)?;
        Backend::of(bql, key)
    }

    pub(crate) fn of(bql: &BqlGuard, key: BackendKey) -> Option<Backend> {
        bql.graph().backends[key].hold.upgrade().map(Backend)
    }

    /// The name; empty for an unnamed backend.
    pub fn name(&self) -> &str {
        self.0.root.name()
    }

    /// Where its requests enter. The root, and tasks that use it, may outlive
    /// the backend; they find no medium then.
    pub fn root(&self) -> &Root {
        &self.0.root
    }

    /// The node below, if there is one (`blk_bs`).
    pub fn node(&self, bql: &BqlGuard) -> Option<Node> {
        let graph = bql.graph();
        let edge = graph.backends[self.key(bql)].edge?;
        let child = graph.edges[edge].child;
        Some(Node::of(bql, child))
    }

    /// Puts a node below the backend (`blk_insert_bs`). The backend's parked
    /// requests, if any, find it. The node comes to the backend's context, or
    /// else the backend to the node's.
    ///
    /// # Errors
    /// [`GraphError::BackendHasNode`]; refusals of the permission system;
    /// [`GraphError::ContextOfActiveBackend`], also when others move one of the
    /// two all the time. Nothing has changed then.
    pub fn insert(&self, bql: &mut BqlGuard, node: &Node) -> Result<(), GraphError> {
        let (key, child) = (self.key(bql), node.key(bql));
        bql.reap();
        self.check_empty(bql)?;
        permissions::check_inactive(bql.graph(), child, self.perms_in_force(bql).perm)?;
        let homes = (self.root().context(), node.io().context());
        let mut together = None;
        for _ in 0..TRIES {
            self.merge_context(bql, node)?;
            let closed = ClosedRoot::close(bql, key);
            // Somebody else may have come first while we waited,
            if let Err(error) = self.check_free_for(bql, child) {
                closed.reopen(bql);
                return Err(error);
            }
            if self.root().context() == node.io().context() {
                together = Some(closed);
                break;
            }
            // or have moved one of the two.
            closed.reopen(bql);
        }
        let Some(closed) = together else {
            self.split_context(bql, node, &homes);
            return Err(GraphError::ContextOfActiveBackend);
        };
        let PermPair { perm, shared } = self.perms_in_force(bql);
        // A second reason keeps requests out until permissions are granted.
        let second = closed.again(bql);
        let edge = write::link(
            bql,
            &Section::default(),
            NewEdge {
                parent: NewParent::Backend(closed),
                name: "root",
                role: Role::empty(),
                child,
                perm,
                shared,
            },
        );
        let insertion = Insertion {
            bql: &mut *bql,
            edge: Some(edge),
            closed: Some(second),
        };
        let granted = insertion.ask(child);
        if granted.is_err() {
            self.split_context(bql, node, &homes);
        }
        granted
    }

    /// Takes the node away (`blk_remove_bs`). Requests that come later find
    /// no medium. A node that nobody else refers to is closed.
    pub fn remove(&self, bql: &mut BqlGuard) {
        let key = self.key(bql);
        if let Some(device) = self.device(bql) {
            device.removing_medium(bql);
        }
        detach(bql, key);
    }

    /// Puts another node below the backend while requests run
    /// (`blk_replace_bs`): each of them sees the old node or the new one.
    ///
    /// # Errors
    /// As [`insert`](Backend::insert); [`GraphError::ChildChanged`] when others
    /// give it another node all the time. The node that is there stays then.
    pub fn replace(&self, bql: &mut BqlGuard, node: &Node) -> Result<(), GraphError> {
        self.replace_expecting(bql, None, node)
    }

    /// As [`replace`](Backend::replace), if the node below is `old` at the
    /// moment at which it is replaced: what runs while this waits may have put
    /// another one there.
    ///
    /// # Errors
    /// [`GraphError::ChildChanged`] if it is another one, or none; those of
    /// [`replace`](Backend::replace).
    pub fn replace_if(&self, bql: &mut BqlGuard, old: &Node, new: &Node) -> Result<(), GraphError> {
        self.replace_expecting(bql, Some(old), new)
    }

    fn replace_expecting(
        &self,
        bql: &mut BqlGuard,
        expected: Option<&Node>,
        node: &Node,
    ) -> Result<(), GraphError> {
        let key = self.key(bql);
        let homes = (self.root().context(), node.io().context());
        let changed = || {
            Err(GraphError::ChildChanged {
                parent: self.name().to_owned(),
                edge: "root".to_owned(),
            })
        };
        let mut replaced = changed();
        for _ in 0..TRIES {
            let old = self.node(bql);
            if expected.is_some() && expected != old.as_ref() {
                replaced = changed();
                break;
            }
            let Some(old) = old else {
                return self.insert(bql, node);
            };
            bql.reap();
            self.merge_context(bql, node)?;
            let scope = Scope::open(bql, [old.clone(), node.clone()]);
            match replace_edge(scope.bql, &scope.section, key, &old, node) {
                // What ran while we waited has given the backend another node.
                Err(GraphError::StaleEdge) => {}
                outcome => {
                    replaced = outcome;
                    break;
                }
            }
        }
        if replaced.is_err() {
            self.split_context(bql, node, &homes);
        }
        replaced
    }

    /// Says whether a write is done before it is durable
    /// (`blk_set_enable_write_cache`). Without a write cache each write ends
    /// with the data on the disk.
    pub fn set_write_cache(&self, bql: &BqlGuard, enabled: bool) {
        self.root().set_write_cache(bql.access(), enabled);
    }

    /// Says whether writes may end beyond the node, which then grows
    /// (`blk_set_allow_write_beyond_eof`). It needs [`Perm::RESIZE`].
    pub fn set_grows(&self, bql: &BqlGuard, grows: bool) {
        self.root().set_grows(bql.access(), grows);
    }

    /// Changes what the backend does with its node and lets others do
    /// (`blk_set_perm`).
    ///
    /// # Errors
    /// Refusals of the permission system; nothing has changed then.
    pub fn set_perm(&self, bql: &mut BqlGuard, perm: Perm, shared: Perm) -> Result<(), GraphError> {
        let key = self.key(bql);
        bql.reap();
        let state = &bql.graph().backends[key];
        if let Some(edge) = state.edge.filter(|_| !state.inactive) {
            permissions::try_set_perm(bql, edge, PermPair { perm, shared })?;
        }
        let state = &mut bql.graph_mut().backends[key];
        state.perm = perm;
        state.shared = shared;
        Ok(())
    }

    /// What the backend does with its node, and lets others do
    /// (`blk_get_perm`).
    pub fn perms(&self, bql: &BqlGuard) -> PermPair {
        let state = &bql.graph().backends[self.key(bql)];
        PermPair {
            perm: state.perm,
            shared: state.shared,
        }
    }

    /// What the backend does now: nothing while its node is inactive.
    fn perms_in_force(&self, bql: &BqlGuard) -> PermPair {
        match bql.graph().backends[self.key(bql)].inactive {
            true => PermPair {
                perm: Perm::empty(),
                shared: Perm::all(),
            },
            false => self.perms(bql),
        }
    }

    /// Whether the backend follows its node to another context
    /// (`blk_set_allow_aio_context_change`). Not at first.
    pub fn set_allow_context_change(&self, bql: &mut BqlGuard, allow: bool) {
        let key = self.key(bql);
        bql.graph_mut().backends[key].allow_context_change = allow;
    }

    /// Moves the backend, and everything connected to it, to the context of
    /// an iothread, or with `None` to the main loop (`blk_set_aio_context`).
    ///
    /// # Errors
    /// What another parent answers; nothing has moved then.
    pub fn set_iothread(
        &self,
        bql: &mut BqlGuard,
        iothread: Option<&IoThread>,
    ) -> Result<(), GraphError> {
        let context = match iothread {
            Some(iothread) => iothread.context().clone(),
            None => bql.context().clone(),
        };
        self.set_context(bql, &context)
    }

    fn set_context(&self, bql: &mut BqlGuard, context: &AioContext) -> Result<(), GraphError> {
        let key = self.key(bql);
        // Moving polls. What runs meanwhile may give the backend another node,
        // and then the one that has moved is no longer ours.
        while self.root().context() != *context {
            match self.node(bql) {
                Some(node) => context_change::change(bql, &node, context, Some(key))?,
                None => {
                    let closed = ClosedRoot::close(bql, key);
                    if bql.graph().backends[key].edge.is_none() {
                        let old = self.root().context();
                        let publish = |bql: &mut BqlGuard| {
                            self.root().set_context(bql.access(), context.clone());
                        };
                        move_home::<NoFaults, _>(bql, publish, |bql| {
                            context_change::turn(bql, &old);
                        });
                    }
                    closed.reopen(bql);
                }
            }
        }
        Ok(())
    }

    /// The node comes to the backend, or else the backend to the node.
    fn merge_context(&self, bql: &mut BqlGuard, node: &Node) -> Result<(), GraphError> {
        let (above, below) = (self.root().context(), node.io().context());
        if above == below {
            return Ok(());
        }
        let Err(first) = context_change::change(bql, node, &above, None) else {
            return Ok(());
        };
        if !bql.graph().backends[self.key(bql)].allow_context_change {
            return Err(first);
        }
        self.set_context(bql, &below)
    }

    /// Undoes [`merge_context`](Backend::merge_context) after a refusal. What
    /// cannot go back stays: both places are valid.
    fn split_context(&self, bql: &mut BqlGuard, node: &Node, homes: &(AioContext, AioContext)) {
        let (above, below) = homes;
        let _ = context_change::change(bql, node, below, None);
        if self.root().context() != *above {
            let _ = self.set_context(bql, above);
        }
    }

    /// Whether a node may come here, as things are.
    fn check_free_for(&self, bql: &BqlGuard, child: NodeKey) -> Result<(), GraphError> {
        self.check_empty(bql)?;
        bql.graph().check_not_closing(child)?;
        permissions::check_inactive(bql.graph(), child, self.perms_in_force(bql).perm)
    }

    fn check_empty(&self, bql: &BqlGuard) -> Result<(), GraphError> {
        if bql.graph().backends[self.key(bql)].edge.is_none() {
            return Ok(());
        }
        Err(GraphError::BackendHasNode(self.name().to_owned()))
    }

    pub(crate) fn hold(&self) -> &Arc<BackendHold> {
        &self.0
    }

    /// Lets the main loop run `f`, as soon as it looks for what nobody needs.
    pub(crate) fn when_unused(&self, f: impl FnOnce(&mut BqlGuard, BackendKey) + Send + 'static) {
        let key = self.0.key;
        self.0.layer.schedule_reap(Box::new(move |bql| f(bql, key)));
    }

    pub(crate) fn key(&self, bql: &BqlGuard) -> BackendKey {
        assert!(
            self.0.layer.id() == bql.layer_id(),
            "backend '{}' belongs to another block layer than the one this thread is in",
            self.name()
        );
        self.0.key
    }
}

/// An edge below a root that no request has seen yet. Unless permissions are
/// granted, dropping it takes the edge away again, also when a driver panics.
struct Insertion<'b> {
    bql: &'b mut BqlGuard,
    edge: Option<EdgeKey>,
    closed: Option<ClosedRoot>,
}

impl Insertion<'_> {
    fn ask(mut self, child: NodeKey) -> Result<(), GraphError> {
        buffers::tell_new(self.bql)?;
        permissions::refresh(self.bql, [child])?;
        self.edge = None;
        Ok(())
    }
}

impl Drop for Insertion<'_> {
    fn drop(&mut self) {
        let Some(closed) = self.closed.take() else {
            return;
        };
        if let Some(edge) = self.edge {
            write::unlink_unseen(self.bql, &closed, edge);
            reap::free_edge(self.bql, edge);
            buffers::schedule(self.bql);
        }
        closed.reopen(self.bql);
    }
}

/// All backends (`blk_next`). The iterator borrows the guard.
pub fn backends<'b>(bql: &'b BqlGuard) -> impl Iterator<Item = Backend> + use<'b> {
    let all = bql.graph().backends.values();
    all.filter_map(|state| state.hold.upgrade().map(Backend))
}

/// Opens the gate of a backend that goes away, for whatever sections over
/// everything had closed it: what is parked there has to find out that nothing
/// is left.
pub(crate) fn let_go(bql: &mut BqlGuard, key: BackendKey) {
    // Taking its node away polls, and its last handle may have gone meanwhile.
    let Some(backend) = bql.graph_mut().backends.get_mut(key) else {
        return;
    };
    let closed = std::mem::take(&mut backend.closed_at);
    let root = backend.root.clone();
    for _ in closed {
        root.open(bql.access());
    }
}

/// Takes the node of a backend away for good.
pub(crate) fn detach(bql: &mut BqlGuard, key: BackendKey) {
    let Some(node) = take_away(bql, key) else {
        return;
    };
    // The backend itself stays where it is.
    context_change::go_back(bql, &node);
}

/// Takes the node of a backend away, in a drained section of the node.
fn take_away(bql: &mut BqlGuard, key: BackendKey) -> Option<Node> {
    loop {
        let edge = bql.graph().backends.get(key)?.edge?;
        let child = bql.graph().edges[edge].child;
        let node = Node::of(bql, child);
        let scope = Scope::open(bql, [node.clone()]);
        // What ran while we waited may have done it for us, or have given the
        // backend another node, which the section does not cover.
        let graph = scope.bql.graph();
        let backend = graph.backends.get(key);
        let is_ours = backend.is_some_and(|state| state.edge == Some(edge));
        if is_ours && graph.edges[edge].child == child {
            write::unlink(scope.bql, &scope.section, edge);
            drop(scope);
            reap::free_edge(bql, edge);
            buffers::schedule(bql);
            return Some(node);
        }
    }
}

fn replace_edge(
    bql: &mut BqlGuard,
    section: &Section,
    key: BackendKey,
    expected: &Node,
    node: &Node,
) -> Result<(), GraphError> {
    let edge = bql.graph().backends[key]
        .edge
        .ok_or(GraphError::StaleEdge)?;
    let (old, new) = (bql.graph().edges[edge].child, node.key(bql));
    let backend = &bql.graph().backends[key];
    if old != expected.key(bql) || backend.root.context() != node.io().context() {
        return Err(GraphError::StaleEdge);
    }
    bql.graph().check_not_closing(new)?;
    permissions::check_inactive(bql.graph(), new, bql.graph().edges[edge].perm)?;
    write::relink(bql, section, edge, new);
    let replacement = Replacement {
        bql,
        section,
        edge,
        undo: Some(old),
    };
    replacement.ask(old, new)
}

/// An edge that leads to another node than before. Unless permissions are
/// granted, dropping it leads the edge back, also when a driver panics.
struct Replacement<'b> {
    bql: &'b mut BqlGuard,
    section: &'b Section,
    edge: EdgeKey,
    undo: Option<NodeKey>,
}

impl Replacement<'_> {
    fn ask(mut self, old: NodeKey, new: NodeKey) -> Result<(), GraphError> {
        buffers::tell_new(self.bql)?;
        permissions::refresh(self.bql, [old, new])?;
        self.undo = None;
        Ok(())
    }
}

impl Drop for Replacement<'_> {
    fn drop(&mut self) {
        if let Some(old) = self.undo {
            write::relink(self.bql, self.section, self.edge, old);
        }
        buffers::schedule(self.bql);
    }
}
