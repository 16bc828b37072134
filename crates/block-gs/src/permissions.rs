//! The permission system: who may do what with a node.
//!
//! After every change of the graph the affected nodes and everything below
//! them are refreshed, parents first: the edges above a node must agree with
//! each other, the node must be able to grant what they ask together, and the
//! edges below get what follows. Either all of it succeeds or nothing has
//! changed.

use std::sync::Arc;

use block_common::error::ConflictSide;
use block_common::role::{ParentState, PermPair};
use block_common::{GraphError, Perm};

use crate::BqlGuard;
use crate::driver::{BlockDriver, ChildPermQuery};
use crate::graph::{EdgeKey, Graph, NodeKey};

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
            force_share: node.force_share,
        }
    }

    /// The nodes of `start` and all below, each after every parent that is
    /// among them.
    fn topological_order(&mut self, start: impl IntoIterator<Item = NodeKey>) -> Vec<NodeKey> {
        // Depth first; a node is put down when all below it are, so the
        // reverse has parents first. An explicit stack: chains can be long.
        let mark = self.next_walk();
        let mut order = Vec::new();
        let mut stack: Vec<(NodeKey, usize)> = Vec::new();
        for root in start {
            if std::mem::replace(&mut self.nodes[root].walk, mark) == mark {
                continue;
            }
            stack.push((root, 0));
            while let Some((key, next)) = stack.last_mut() {
                let key = *key;
                let Some(&edge) = self.nodes[key].children.get(*next) else {
                    order.push(key);
                    stack.pop();
                    continue;
                };
                *next += 1;
                let child = self.edges[edge].child;
                if std::mem::replace(&mut self.nodes[child].walk, mark) != mark {
                    stack.push((child, 0));
                }
            }
        }
        order.reverse();
        order
    }
}

/// What a refresh has changed so far.
#[derive(Default)]
struct Undo {
    edges: Vec<(EdgeKey, PermPair)>,
    drivers: Vec<(NodeKey, Arc<dyn BlockDriver>)>,
}

/// Recomputes the permissions of `start` and everything below
/// (`bdrv_refresh_perms`).
///
/// # Errors
/// The first refusal; everything is as it was before.
pub(crate) fn refresh(
    bql: &mut BqlGuard,
    start: impl IntoIterator<Item = NodeKey>,
) -> Result<(), GraphError> {
    let order = bql.graph_mut().topological_order(start);
    let mut undo = Undo::default();
    for key in order {
        if let Err(error) = refresh_node(bql, key, &mut undo) {
            roll_back(bql, undo);
            return Err(error);
        }
    }
    for (key, driver) in undo.drivers.into_iter().rev() {
        let granted = bql.graph().cumulative(key);
        driver.set_perm(bql, granted);
    }
    Ok(())
}

/// As [`refresh`], where less is asked than before: it cannot reasonably
/// fail, and whoever detaches could do nothing about it.
pub(crate) fn loosen(bql: &mut BqlGuard, node: NodeKey) {
    if bql.graph().nodes.contains_key(node) {
        let _ = refresh(bql, [node]);
    }
}

fn refresh_node(bql: &mut BqlGuard, key: NodeKey, undo: &mut Undo) -> Result<(), GraphError> {
    let graph = bql.graph();
    graph.check_conflicts(key)?;
    let node = graph.node(key);
    let asked = graph.cumulative(key);
    if asked.perm.intersects(Perm::WRITES) && !node.writable {
        return Err(GraphError::ReadOnly);
    }
    let driver = Arc::clone(&node.driver);
    driver.check_perm(bql, asked)?;
    undo.drivers.push((key, Arc::clone(&driver)));

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
        if parent.force_share {
            pair.shared = Perm::all();
        }
        undo.edges.push((edge, edge_perms(bql, edge)));
        set_edge_perms(bql, edge, pair);
    }
    Ok(())
}

fn roll_back(bql: &mut BqlGuard, undo: Undo) {
    for (edge, pair) in undo.edges.into_iter().rev() {
        set_edge_perms(bql, edge, pair);
    }
    for (_, driver) in undo.drivers.into_iter().rev() {
        driver.abort_perm_update(bql);
    }
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
    let Err(error) = refresh(bql, [child]) else {
        return Ok(());
    };
    let asks_more = !before.perm.contains(wanted.perm);
    let shares_less = !wanted.shared.contains(before.shared);
    if !asks_more && !shares_less {
        return Ok(());
    }
    set_edge_perms(bql, edge, before);
    Err(error)
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
