//! The permission system: who may do what with a node.
//!
//! After every change of the graph the affected nodes and everything below
//! them are refreshed, parents first: the edges above a node must agree with
//! each other, the node must be able to grant what they ask together, and the
//! edges below get what follows. Either all of it succeeds or nothing has
//! changed.

use std::collections::BinaryHeap;
use std::sync::Arc;

use block_common::error::ConflictSide;
use block_common::role::{ParentState, PermPair};
use block_common::{GraphError, Perm};

use crate::driver::{BlockDriver, ChildPermQuery};
use crate::graph::{EdgeKey, Graph, NodeKey};
use crate::{BqlGuard, Node};

impl Graph {
    /// What all parents of a node together do with it, and let others do
    /// (`bdrv_get_cumulative_perm`).
    pub(crate) fn cumulative(&self, key: NodeKey) -> PermPair {
        let start = PermPair {
            perm: Perm::empty(),
            shared: Perm::all(),
        };
        let parents = self.node(key).parents.iter();
        parents.fold(start, |sum, &edge| PermPair {
            perm: sum.perm | self.edges[edge].perm,
            shared: sum.shared & self.edges[edge].shared,
        })
    }

    /// The first pair of parents that cannot use the node at once.
    fn check_conflicts(&self, key: NodeKey) -> Result<(), GraphError> {
        // The sums tell whether there is a conflict at all, without looking
        // at every pair. A parent does not conflict with itself, so where
        // they clash the pairs decide.
        let PermPair { perm, shared } = self.cumulative(key);
        if (perm - shared).is_empty() {
            return Ok(());
        }
        let parents = &self.node(key).parents;
        for &required in parents {
            for &unshared in parents {
                let permissions = self.edges[required].perm - self.edges[unshared].shared;
                if required != unshared && !permissions.is_empty() {
                    return Err(GraphError::PermissionConflict {
                        node: self.name(key).into(),
                        permissions,
                        required: self.conflict_side(required),
                        unshared: self.conflict_side(unshared),
                    });
                }
            }
        }
        Ok(())
    }

    fn conflict_side(&self, edge: EdgeKey) -> Box<ConflictSide> {
        let state = &self.edges[edge];
        Box::new(ConflictSide {
            parent: self.describe(state.parent),
            edge: state.name.clone(),
        })
    }

    fn parent_state(&self, key: NodeKey) -> ParentState {
        let node = self.node(key);
        ParentState {
            writable: node.writable && !node.inactive,
            inactive: node.inactive,
            no_io: false,
        }
    }
}

/// What a refresh has changed so far.
#[derive(Default)]
#[must_use = "what drivers have agreed to is granted or taken back"]
pub(crate) struct Agreed {
    edges: Vec<(EdgeKey, PermPair)>,
    drivers: Vec<(NodeKey, Arc<dyn BlockDriver>)>,
}

impl Agreed {
    /// Tells the drivers that what they have agreed to takes effect
    /// (`bdrv_set_perm`). One that panics has been told; this can be called
    /// again for the others.
    pub fn grant(&mut self, bql: &BqlGuard) {
        while let Some((key, driver)) = self.drivers.pop() {
            let granted = bql.graph().cumulative(key);
            driver.set_perm(bql, granted);
        }
        self.edges.clear();
    }

    /// It does not take effect: the edges need what they needed before.
    pub fn take_back(&mut self, bql: &mut BqlGuard) {
        for (edge, pair) in std::mem::take(&mut self.edges).into_iter().rev() {
            set_edge_perms(bql, edge, pair);
        }
        let drivers = std::mem::take(&mut self.drivers);
        Aborting {
            bql,
            drivers: drivers.into_iter(),
        }
        .run();
    }
}

/// Nodes whose permissions may have changed, highest first: a node comes out
/// after every parent of it that went in.
struct Pending {
    mark: u64,
    queue: BinaryHeap<(u64, NodeKey)>,
}

impl Pending {
    fn new(graph: &mut Graph) -> Self {
        Pending {
            mark: graph.next_walk(),
            queue: BinaryHeap::new(),
        }
    }

    fn add(&mut self, graph: &mut Graph, key: NodeKey) {
        let node = &mut graph.nodes[key];
        if std::mem::replace(&mut node.walk, self.mark) != self.mark {
            self.queue.push((node.rank, key));
        }
    }

    fn next(&mut self) -> Option<NodeKey> {
        self.queue.pop().map(|(_, key)| key)
    }
}

/// Recomputes the permissions of `start`, and of what is below as far as
/// something changes there (`bdrv_refresh_perms`).
///
/// # Errors
/// The first refusal; everything is as it was before.
pub(crate) fn refresh(
    bql: &mut BqlGuard,
    start: impl IntoIterator<Item = NodeKey>,
) -> Result<(), GraphError> {
    let attempt = Attempt::check(bql, start)?;
    attempt.commit();
    Ok(())
}

/// The first half of [`refresh`]: everybody has agreed, and nothing has taken
/// effect at the drivers yet.
///
/// # Errors
/// The first refusal; everything is as it was before.
pub(crate) fn check(
    bql: &mut BqlGuard,
    start: impl IntoIterator<Item = NodeKey>,
) -> Result<Agreed, GraphError> {
    let mut attempt = Attempt::check(bql, start)?;
    Ok(std::mem::take(&mut attempt.undo))
}

/// A refresh in progress. Unless committed, dropping it takes everything
/// back, also when a callback of a driver panics.
struct Attempt<'b> {
    bql: &'b mut BqlGuard,
    undo: Agreed,
}

impl<'b> Attempt<'b> {
    fn check(
        bql: &'b mut BqlGuard,
        start: impl IntoIterator<Item = NodeKey>,
    ) -> Result<Self, GraphError> {
        let mut pending = Pending::new(bql.graph_mut());
        for key in start {
            pending.add(bql.graph_mut(), key);
        }
        let mut attempt = Attempt {
            bql,
            undo: Agreed::default(),
        };
        while let Some(key) = pending.next() {
            refresh_node(attempt.bql, key, &mut attempt.undo, &mut pending)?;
        }
        Ok(attempt)
    }

    fn commit(mut self) {
        // What can be undone stays so until the last driver has not panicked.
        for (key, driver) in self.undo.drivers.iter().rev() {
            let granted = self.bql.graph().cumulative(*key);
            driver.set_perm(self.bql, granted);
        }
        self.undo.edges.clear();
        self.undo.drivers.clear();
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.undo.take_back(self.bql);
    }
}

/// Drivers that have agreed for nothing. One that panics does not keep the
/// others from hearing of it.
struct Aborting<'b> {
    bql: &'b BqlGuard,
    drivers: std::vec::IntoIter<(NodeKey, Arc<dyn BlockDriver>)>,
}

impl Aborting<'_> {
    fn run(&mut self) {
        for (_, driver) in self.drivers.by_ref().rev() {
            driver.abort_perm_update(self.bql);
        }
    }
}

impl Drop for Aborting<'_> {
    fn drop(&mut self) {
        self.run();
    }
}

/// As [`refresh`], where less is asked than before: it cannot reasonably
/// fail, and whoever detaches could do nothing about it.
pub(crate) fn loosen(bql: &mut BqlGuard, node: NodeKey) {
    if bql.graph().nodes.contains_key(node) {
        let _ = refresh(bql, [node]);
    }
}

fn refresh_node(
    bql: &mut BqlGuard,
    key: NodeKey,
    undo: &mut Agreed,
    pending: &mut Pending,
) -> Result<(), GraphError> {
    let graph = bql.graph();
    graph.check_conflicts(key)?;
    let node = graph.node(key);
    let asked = graph.cumulative(key);
    if asked.perm.intersects(Perm::WRITES) && !node.writable {
        // Requests see what it was before a reopen.
        return Err(match node.io.is_writable() {
            true => {
                let shown = Node::of(bql, key);
                let shown = shown.view(bql).skip_implicit_filters();
                GraphError::ReadOnlyWithWriters(shown.name().to_owned())
            }
            false => GraphError::ReadOnly,
        });
    }
    let alignment = u64::from(node.limits.request_alignment);
    if asked.perm.intersects(Perm::WRITES)
        && !asked.perm.contains(Perm::RESIZE)
        && !node.io.length().is_multiple_of(alignment)
    {
        return Err(GraphError::UnalignedSize);
    }
    let driver = Arc::clone(&node.driver);
    // What another process owns the driver does not keep for us.
    if !node.inactive {
        driver.check_perm(bql, asked)?;
        undo.drivers.push((key, Arc::clone(&driver)));
    }

    let parent = bql.graph().parent_state(key);
    let children = bql.graph().node(key).children.clone();
    for edge in children {
        let state = &bql.graph().edges[edge];
        let query = ChildPermQuery {
            name: &state.name,
            role: state.role,
            parent,
            cumulative: asked,
        };
        let mut pair = driver.child_perm(bql, &query);
        let child = bql.graph().edges[edge].child;
        if bql.graph().node(child).force_share {
            pair.shared = Perm::all();
        }
        let before = edge_perms(bql, edge);
        if pair != before {
            undo.edges.push((edge, before));
            set_edge_perms(bql, edge, pair);
            pending.add(bql.graph_mut(), child);
        }
    }
    Ok(())
}

pub(crate) fn edge_perms(bql: &BqlGuard, edge: EdgeKey) -> PermPair {
    let state = &bql.graph().edges[edge];
    PermPair {
        perm: state.perm,
        shared: state.shared,
    }
}

pub(crate) fn set_edge_perms(bql: &mut BqlGuard, edge: EdgeKey, pair: PermPair) {
    let state = &mut bql.graph_mut().edges[edge];
    state.perm = pair.perm;
    state.shared = pair.shared;
    let io = Arc::clone(&state.io);
    io.set_perm(bql.access(), pair.perm);
}

/// Sets what an edge of a backend or a job needs
/// (`bdrv_child_try_set_perm`).
///
/// # Errors
/// As [`refresh`]. A change that asks for nothing new never fails.
pub(crate) fn try_set_perm(
    bql: &mut BqlGuard,
    edge: EdgeKey,
    wanted: PermPair,
) -> Result<(), GraphError> {
    let before = edge_perms(bql, edge);
    set_edge_perms(bql, edge, wanted);
    let child = bql.graph().edges[edge].child;
    let asks_more = !before.perm.contains(wanted.perm);
    let shares_less = !wanted.shared.contains(before.shared);
    let mut asking = Asking {
        bql,
        edge,
        undo: Some(before),
    };
    let granted = refresh(asking.bql, [child]);
    if granted.is_ok() || (!asks_more && !shares_less) {
        asking.undo = None;
        return Ok(());
    }
    granted
}

/// What an edge needs, while others are asked. Dropping it takes that back,
/// also when a driver panics.
struct Asking<'b> {
    bql: &'b mut BqlGuard,
    edge: EdgeKey,
    undo: Option<PermPair>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(before) = self.undo {
            set_edge_perms(self.bql, self.edge, before);
        }
    }
}

/// An inactive node belongs to another process: it can be looked at, not
/// more.
///
/// # Errors
/// [`GraphError::InactivePermission`].
pub(crate) fn check_inactive(graph: &Graph, child: NodeKey, perm: Perm) -> Result<(), GraphError> {
    let beyond = perm - Perm::CONSISTENT_READ;
    if graph.node(child).inactive && !beyond.is_empty() {
        return Err(GraphError::InactivePermission(beyond));
    }
    Ok(())
}
