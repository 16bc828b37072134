//! Giving an image to another process, and taking it back.
//!
//! At the end of a migration two processes have the same image open. The
//! nodes of the one that does not run are *inactive*: nothing is written
//! through them, and nothing is kept that the other might change. Who
//! inactivates is the main loop: it changes the permissions of the graph. The
//! driver's share is I/O, and gets a request.
//!
//! All nodes in question change in one drained section, or none does. (QEMU
//! leaves those as they are that came before the one which refused.)

use std::collections::HashSet;
use std::sync::Arc;

use block_common::error::errno;
use block_common::role::PermPair;
use block_common::{GraphError, IoError, Perm};
use block_io::{NodeFlags, Request};

use crate::graph::section::Scope;
use crate::graph::{BackendKey, Graph, NodeKey, ParentRef, write};
use crate::{Backend, BqlGuard, EdgeParent, Node, NodeView, owner_io, permissions};

/// Which way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Goal {
    Active,
    Inactive,
}

/// What has been done so far, to be undone newest first.
enum Done {
    /// The node is where the goal says.
    Node(Node),
    /// Its driver has let the image go, or looked at it again.
    Driver(Node),
    Backend(BackendKey),
    Other(Arc<dyn EdgeParent>),
}

/// Nodes on their way. Unless finished, dropping it takes them all back, also
/// when a callback panics.
struct Turning<'b> {
    scope: Scope<'b>,
    goal: Goal,
    done: Vec<Done>,
}

impl Node {
    /// Makes the node ready for another process to take the image over, and
    /// everything below that no other active node uses (`bdrv_inactivate`).
    /// What its driver keeps is written out, and its parents stop writing.
    ///
    /// # Errors
    /// [`GraphError::ActiveParent`]; [`GraphError::CouldNotInactivate`] when
    /// a backend above that no guest uses may write, when another parent
    /// does, or a driver refuses. All is as before then.
    pub fn inactivate(&self, bql: &mut BqlGuard) -> Result<(), GraphError> {
        let has_active_parent = self.view(bql).parents().any(|edge| {
            let parent = edge.parent_node();
            parent.is_some_and(|parent| !parent.is_inactive())
        });
        if has_active_parent {
            return Err(GraphError::ActiveParent);
        }
        inactivate(bql, std::slice::from_ref(self))
            .map_err(|error| GraphError::CouldNotInactivate(Box::new(error)))
    }

    /// Takes the image over, with everything below (`bdrv_activate`): the
    /// parents get their permissions, and the driver looks at the image anew.
    ///
    /// # Errors
    /// Refusals of the permission system, of drivers and of parents;
    /// "Could not refresh total sector count". All is as before then.
    pub fn activate(&self, bql: &mut BqlGuard) -> Result<(), GraphError> {
        activate(bql, std::slice::from_ref(self))
    }
}

impl NodeView<'_> {
    /// Whether another process owns the image (`bdrv_is_inactive`).
    pub fn is_inactive(self) -> bool {
        self.graph().node(self.key).inactive
    }
}

impl Backend {
    /// Says that the backend lets its node be inactivated although it may
    /// write and no guest uses it (`blk_set_force_allow_inactivate`).
    pub fn set_force_allow_inactivate(&self, bql: &mut BqlGuard) {
        let key = self.key(bql);
        bql.graph_mut().backends[key].force_allow_inactivate = true;
    }
}

/// Activates every node (`bdrv_activate_all`).
///
/// # Errors
/// Those of [`Node::activate`]; no node has changed then.
pub fn activate_all(bql: &mut BqlGuard) -> Result<(), GraphError> {
    let tops = parentless(bql);
    activate(bql, &tops)
}

/// Inactivates every node (`bdrv_inactivate_all`).
///
/// # Errors
/// Those of [`Node::inactivate`]; no node has changed then.
pub fn inactivate_all(bql: &mut BqlGuard) -> Result<(), GraphError> {
    let tops = parentless(bql);
    inactivate(bql, &tops)
}

/// The nodes that no other node uses.
fn parentless(bql: &BqlGuard) -> Vec<Node> {
    let tops = crate::nodes(bql).filter(|node| {
        let closing = node.graph().node(node.key).closing;
        !closing && node.parents().all(|edge| edge.parent_node().is_none())
    });
    tops.map(|node| node.node(bql)).collect()
}

fn inactivate(bql: &mut BqlGuard, tops: &[Node]) -> Result<(), GraphError> {
    let Some((mut turning, plan)) = Turning::begin(bql, Goal::Inactive, tops, to_inactivate) else {
        return Ok(());
    };
    for node in plan {
        turning.inactivate(&node)?;
    }
    turning.done.clear();
    Ok(())
}

fn activate(bql: &mut BqlGuard, tops: &[Node]) -> Result<(), GraphError> {
    let Some((mut turning, plan)) = Turning::begin(bql, Goal::Active, tops, to_activate) else {
        return Ok(());
    };
    for node in plan {
        turning.activate(&node)?;
    }
    turning.done.clear();
    Ok(())
}

/// What is to be inactivated, parents first: not what somebody uses who stays
/// active.
fn to_inactivate(graph: &Graph, tops: &[NodeKey]) -> Vec<NodeKey> {
    let mut planned = HashSet::new();
    let mut order = Vec::new();
    let mut stack = tops.to_vec();
    while let Some(key) = stack.pop() {
        let node = graph.node(key);
        let mut parents = node.parents.iter();
        let stays = parents.any(|&edge| match graph.edges[edge].parent {
            ParentRef::Node(parent) => !graph.node(parent).inactive && !planned.contains(&parent),
            _ => false,
        });
        // It is met again below each of its parents.
        if node.inactive || stays || !planned.insert(key) {
            continue;
        }
        order.push(key);
        stack.extend(node.children.iter().map(|&edge| graph.edges[edge].child));
    }
    order
}

/// What is to be activated, children first.
fn to_activate(graph: &Graph, tops: &[NodeKey]) -> Vec<NodeKey> {
    let mut seen = HashSet::new();
    let mut order = Vec::new();
    let mut stack = tops.to_vec();
    while let Some(key) = stack.pop() {
        if !seen.insert(key) {
            continue;
        }
        let node = graph.node(key);
        let mut parents = node.parents.iter();
        let has_inactive_backend = parents.any(|&edge| match graph.edges[edge].parent {
            ParentRef::Backend(backend) => graph.backends[backend].inactive,
            _ => false,
        });
        if node.inactive || has_inactive_backend {
            order.push(key);
        }
        stack.extend(node.children.iter().map(|&edge| graph.edges[edge].child));
    }
    order.sort_by_key(|&key| graph.node(key).rank);
    order
}

fn not_permitted() -> GraphError {
    GraphError::Io(IoError::from_errno(errno::EPERM))
}

impl<'b> Turning<'b> {
    /// Drains what is to change; `None` if nothing is.
    fn begin(
        bql: &'b mut BqlGuard,
        goal: Goal,
        tops: &[Node],
        plan: impl Fn(&Graph, &[NodeKey]) -> Vec<NodeKey>,
    ) -> Option<(Self, Vec<Node>)> {
        let keys: Vec<NodeKey> = tops.iter().map(|node| node.key(bql)).collect();
        let mut planned = plan(bql.graph(), &keys);
        if planned.is_empty() {
            return None;
        }
        let mut scope = Scope::open(bql, []);
        // Covering polls, and what runs meanwhile may change the graph.
        while !planned.iter().all(|&key| scope.section.covers(key)) {
            let nodes: Vec<Node> = handles(scope.bql, &planned);
            scope.section.cover(scope.bql, nodes);
            planned = plan(scope.bql.graph(), &keys);
        }
        let planned = handles(scope.bql, &planned);
        let turning = Turning {
            scope,
            goal,
            done: Vec::new(),
        };
        Some((turning, planned))
    }

    fn inactivate(&mut self, node: &Node) -> Result<(), GraphError> {
        self.release(node)?;
        for parent in self.parents(node) {
            self.turn_parent(parent)?;
        }
        // Drivers' own I/O has passed the gates, and waiting for it polls.
        self.scope.settle();
        let key = node.key(self.scope.bql);
        let PermPair { perm, .. } = self.scope.bql.graph().cumulative(key);
        if perm.intersects(Perm::WRITES) {
            return Err(not_permitted());
        }
        self.turn_node(node);
        // It asks for less than before.
        permissions::loosen(self.scope.bql, key);
        Ok(())
    }

    fn activate(&mut self, node: &Node) -> Result<(), GraphError> {
        if node.view(self.scope.bql).is_inactive() {
            self.turn_node(node);
            let key = node.key(self.scope.bql);
            permissions::refresh(self.scope.bql, [key])?;
            self.take(node)?;
        }
        for parent in self.parents(node) {
            self.turn_parent(parent)?;
        }
        Ok(())
    }

    /// Lets the driver write out what it keeps.
    fn release(&mut self, node: &Node) -> Result<(), GraphError> {
        release(self.scope.bql, node)?;
        self.done.push(Done::Driver(node.clone()));
        Ok(())
    }

    /// Lets the driver look at the image anew.
    fn take(&mut self, node: &Node) -> Result<(), GraphError> {
        take(&mut self.scope, node)?;
        self.done.push(Done::Driver(node.clone()));
        let ask = async |request: Request<'_>| request.refresh_length().await;
        let length = owner_io::run(self.scope.bql, node, &self.scope.section, ask);
        length.map_err(|error| {
            let text = format!("Could not refresh total sector count: {error}");
            IoError::refused(error.errno(), text)
        })?;
        Ok(())
    }

    fn turn_node(&mut self, node: &Node) {
        self.done.push(Done::Node(node.clone()));
        set_inactive(&mut self.scope, node, self.goal == Goal::Inactive);
    }

    fn parents(&self, node: &Node) -> Vec<ParentRef> {
        let graph = self.scope.bql.graph();
        let parents = graph.node(node.key(self.scope.bql)).parents.iter();
        parents.map(|&edge| graph.edges[edge].parent).collect()
    }

    fn turn_parent(&mut self, parent: ParentRef) -> Result<(), GraphError> {
        let bql = &mut *self.scope.bql;
        match parent {
            ParentRef::Node(_) => Ok(()),
            ParentRef::Backend(key) => {
                let inactive = self.goal == Goal::Inactive;
                let Some(state) = bql.graph().backends.get(key) else {
                    return Ok(());
                };
                if state.inactive == inactive {
                    return Ok(());
                }
                let may = !state.name.is_empty()
                    || state.force_allow_inactivate
                    || !state.perm.intersects(Perm::WRITES);
                if inactive && !may {
                    return Err(not_permitted());
                }
                turn_backend(bql, key, inactive)?;
                self.done.push(Done::Backend(key));
                Ok(())
            }
            ParentRef::Other(key) => {
                let class = Arc::clone(&bql.graph().others[key].class);
                match self.goal {
                    Goal::Inactive => class.inactivate(bql)?,
                    Goal::Active => class.activate(bql)?,
                }
                self.done.push(Done::Other(class));
                Ok(())
            }
        }
    }

    /// Takes one step back. What fails now has been told of already.
    fn undo(&mut self, done: Done) {
        let was_inactive = self.goal == Goal::Active;
        match done {
            Done::Node(node) => {
                set_inactive(&mut self.scope, &node, was_inactive);
                let key = node.key(self.scope.bql);
                let refreshed = permissions::refresh(self.scope.bql, [key]);
                if refreshed.is_err() && !was_inactive {
                    // Somebody else has come first while a driver polled.
                    set_inactive(&mut self.scope, &node, true);
                }
            }
            // A driver that has panicked is left alone.
            Done::Driver(_) if std::thread::panicking() => {}
            Done::Driver(node) => {
                let _ = match was_inactive {
                    true => release(self.scope.bql, &node),
                    false => take(&mut self.scope, &node),
                };
            }
            Done::Backend(key) => {
                let _ = turn_backend(self.scope.bql, key, was_inactive);
            }
            Done::Other(class) => {
                let _ = match was_inactive {
                    true => class.inactivate(self.scope.bql),
                    false => class.activate(self.scope.bql),
                };
            }
        }
    }
}

impl Drop for Turning<'_> {
    fn drop(&mut self) {
        // A step back that panics does not keep the others from being taken.
        let mut back = WayBack(self);
        back.take();
    }
}

/// The steps back not yet taken.
struct WayBack<'t, 'b>(&'t mut Turning<'b>);

impl WayBack<'_, '_> {
    fn take(&mut self) {
        while let Some(done) = self.0.done.pop() {
            self.0.undo(done);
        }
    }
}

impl Drop for WayBack<'_, '_> {
    fn drop(&mut self) {
        self.take();
    }
}

fn handles(bql: &BqlGuard, keys: &[NodeKey]) -> Vec<Node> {
    keys.iter().map(|&key| Node::of(bql, key)).collect()
}

fn set_inactive(scope: &mut Scope<'_>, node: &Node, inactive: bool) {
    // The drivers' own I/O has passed the gates.
    scope.settle();
    let key = node.key(scope.bql);
    scope.bql.graph_mut().nodes[key].inactive = inactive;
    let flag = NodeFlags::INACTIVE;
    write::set_flag(scope.bql, &scope.section, key, flag, inactive);
}

/// Stores what is kept of the node: its bitmaps, and what the driver has.
pub(crate) fn release(bql: &mut BqlGuard, node: &Node) -> Result<(), GraphError> {
    let driver = Arc::clone(&bql.graph().node(node.key(bql)).driver);
    let mut section = node.drain(bql);
    let stored = section.store_bitmaps();
    stored.map_err(|error| GraphError::Refused {
        message: error.to_string(),
        errno: errno::EINVAL,
    })?;
    driver.inactivate(&mut section)
}

fn take(scope: &mut Scope<'_>, node: &Node) -> Result<(), GraphError> {
    let look = async |request: Request<'_>| request.invalidate_cache().await;
    owner_io::run(scope.bql, node, &scope.section, look)?;
    let driver = Arc::clone(&scope.bql.graph().node(node.key(scope.bql)).driver);
    driver.activated(&mut node.drain(scope.bql))
}

/// An inactive backend does nothing with its node, and lets others do
/// anything.
fn turn_backend(bql: &mut BqlGuard, key: BackendKey, inactive: bool) -> Result<(), GraphError> {
    // Drivers poll, and its last handle may have gone meanwhile.
    let Some(state) = bql.graph().backends.get(key) else {
        return Ok(());
    };
    let pair = match inactive {
        true => PermPair {
            perm: Perm::empty(),
            shared: Perm::all(),
        },
        false => PermPair {
            perm: state.perm,
            shared: state.shared,
        },
    };
    if let Some(edge) = state.edge {
        permissions::try_set_perm(bql, edge, pair)?;
    }
    if let Some(state) = bql.graph_mut().backends.get_mut(key) {
        state.inactive = inactive;
    }
    Ok(())
}
