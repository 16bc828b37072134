//! What nodes need of their requests, after the graph has changed.

use std::collections::BTreeSet;

use block_common::error::errno;
use block_common::{BlockLimits, GraphError, Role};

use crate::BqlGuard;
use crate::graph::section::Section;
use crate::graph::{NodeKey, ParentRef, write};

/// Finds out the limits of `start`, and of what is above as far as something
/// changes there (`bdrv_refresh_limits`). All of it has been quiesced by
/// `section`, which found it idle: each is covered, or was above something
/// that is. Children come before their parents. `before` gets what nodes had
/// that have new ones.
///
/// # Errors
/// [`GraphError::Refused`] for limits that cannot be; some nodes may have new
/// ones then, and [`put_back`] is called for.
pub(crate) fn refresh(
    bql: &mut BqlGuard,
    section: &Section,
    start: impl IntoIterator<Item = NodeKey>,
    before: &mut Vec<(NodeKey, BlockLimits)>,
) -> Result<(), GraphError> {
    let ranked = |bql: &BqlGuard, key| (bql.graph().node(key).rank, key);
    let mut pending: BTreeSet<(u64, NodeKey)> = BTreeSet::new();
    for key in start {
        pending.insert(ranked(bql, key));
    }
    while let Some((_, key)) = pending.pop_first() {
        let limits = of_node(bql, key)?;
        let node = bql.graph().node(key);
        if node.limits == limits {
            continue;
        }
        for &edge in &node.parents {
            if let ParentRef::Node(parent) = bql.graph().edges[edge].parent {
                pending.insert(ranked(bql, parent));
            }
        }
        before.push((key, node.limits));
        set(bql, section, key, limits);
    }
    Ok(())
}

/// Takes back what [`refresh`] has done, the last first. No driver is asked.
pub(crate) fn put_back(bql: &mut BqlGuard, section: &Section, before: Vec<(NodeKey, BlockLimits)>) {
    for (key, limits) in before.into_iter().rev() {
        set(bql, section, key, limits);
    }
}

fn set(bql: &mut BqlGuard, section: &Section, key: NodeKey, limits: BlockLimits) {
    bql.graph_mut().nodes[key].limits = limits;
    write::set_limits(bql, section, key, limits);
}

fn of_node(bql: &BqlGuard, key: NodeKey) -> Result<BlockLimits, GraphError> {
    let graph = bql.graph();
    let node = graph.node(key);
    let mut limits = BlockLimits::default();
    for &edge in &node.children {
        let edge = &graph.edges[edge];
        if edge
            .role
            .intersects(Role::DATA | Role::FILTERED | Role::COW)
        {
            limits.merge_child(&graph.node(edge.child).limits);
        }
    }
    node.driver.refresh_limits(bql, &mut limits)?;
    limits.checked().map_err(|message| GraphError::Refused {
        message: message.to_owned(),
        errno: errno::EINVAL,
    })
}
