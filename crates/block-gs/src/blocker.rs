//! Operations that somebody does not want on a node, as values.
//!
//! Permissions say who may do what with the data of a node. Some operations
//! are in the way although nobody's permissions are: they are blocked by
//! name (`BdrvOpBlocker`).

use std::fmt;
use std::sync::Arc;

use block_common::GraphError;

use crate::graph::{EdgeKey, Graph, NodeKey, ParentRef};
use crate::layer::LayerShared;
use crate::{BqlGuard, Node, NodeView};

bitflags::bitflags! {
    /// Operations of a user on a node (`BlockOpType`).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub struct Operations: u16 {
        /// Being the source of a backup.
        const BACKUP_SOURCE = 1;
        /// Being the target of a backup.
        const BACKUP_TARGET = 1 << 1;
        /// A change of the medium.
        const CHANGE = 1 << 2;
        /// Being committed into what is below.
        const COMMIT_SOURCE = 1 << 3;
        /// Being committed into.
        const COMMIT_TARGET = 1 << 4;
        /// Being taken from its device.
        const DRIVE_DEL = 1 << 5;
        /// Having its medium ejected.
        const EJECT = 1 << 6;
        /// Getting an overlay.
        const EXTERNAL_SNAPSHOT = 1 << 7;
        /// Getting a snapshot inside.
        const INTERNAL_SNAPSHOT = 1 << 8;
        /// Losing a snapshot inside.
        const INTERNAL_SNAPSHOT_DELETE = 1 << 9;
        /// Being the source of a mirror.
        const MIRROR_SOURCE = 1 << 10;
        /// Being the target of a mirror.
        const MIRROR_TARGET = 1 << 11;
        /// A change of length.
        const RESIZE = 1 << 12;
        /// Getting the data of what is below.
        const STREAM = 1 << 13;
        /// Being replaced by another node.
        const REPLACE = 1 << 14;
    }
}

/// What a backing image may still take part in.
const ALLOWED_ON_BACKING: Operations = Operations::COMMIT_TARGET
    .union(Operations::STREAM)
    .union(Operations::BACKUP_SOURCE)
    .union(Operations::BACKUP_TARGET);

/// One reason, at one node.
pub(crate) struct Blocker {
    /// Which [`OpBlock`] it belongs to.
    id: u64,
    blocked: Operations,
    reason: Arc<str>,
}

/// Operations that are blocked on a node for as long as this value exists
/// (`bdrv_op_block` to `bdrv_op_unblock`).
///
/// In QEMU a blocker is found again by the address of its reason, and one
/// that is not taken away ends in an assertion when the node goes. Here
/// whoever needs the block owns it. It may be dropped on any thread; the
/// operations are free again when the main loop next runs, or at once by
/// [`unblock`](OpBlock::unblock). It keeps the node alive.
#[must_use = "the operations are free again when this is dropped"]
pub struct OpBlock {
    layer: Arc<LayerShared>,
    node: Option<Node>,
    id: u64,
}

impl fmt::Debug for OpBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            Some(node) => write!(f, "OpBlock({})", node.name()),
            None => f.write_str("OpBlock(given back)"),
        }
    }
}

impl Node {
    /// Blocks operations on this node (`bdrv_op_block`; with
    /// [`Operations::all`] `bdrv_op_block_all`). `reason` is a clause that
    /// follows "Node 'x' is busy:".
    pub fn block_operations(
        &self,
        bql: &mut BqlGuard,
        blocked: Operations,
        reason: &str,
    ) -> OpBlock {
        let key = self.key(bql);
        let layer = Arc::clone(bql.state().shared());
        let graph = bql.graph_mut();
        graph.blockers += 1;
        let id = graph.blockers;
        graph.nodes[key].blockers.push(Blocker {
            id,
            blocked,
            reason: reason.into(),
        });
        OpBlock {
            layer,
            node: Some(self.clone()),
            id,
        }
    }
}

impl NodeView<'_> {
    /// Whether nobody has blocked any of `wanted` on this node
    /// (`bdrv_op_is_blocked`). A backing image refuses by itself what its
    /// overlay could not bear.
    ///
    /// # Errors
    /// [`GraphError::Blocked`] with the newest reason.
    pub fn check_operations(self, wanted: Operations) -> Result<(), GraphError> {
        let blockers = &self.graph().node(self.key).blockers;
        let found = blockers
            .iter()
            .rev()
            .find(|blocker| blocker.blocked.intersects(wanted));
        let reason = match found {
            Some(blocker) => Some(blocker.reason.to_string()),
            None if ALLOWED_ON_BACKING.contains(wanted) => None,
            None => overlay(self.graph(), self.key).map(|overlay| {
                let overlay = NodeView {
                    bql: self.bql,
                    key: overlay,
                };
                let name = overlay.device_or_node_name();
                format!("node is used as backing hd of '{name}'")
            }),
        };
        let Some(reason) = reason else {
            return Ok(());
        };
        Err(GraphError::Blocked {
            node: self.device_or_node_name().to_owned(),
            reason,
        })
    }

    /// Whether anybody has blocked anything (`!bdrv_op_blocker_is_empty`).
    pub fn has_blocked_operations(self) -> bool {
        let blockers = &self.graph().node(self.key).blockers;
        !blockers.is_empty() || overlay(self.graph(), self.key).is_some()
    }
}

/// The node whose backing image this one is; the newest, if it is that of
/// several.
fn overlay(graph: &Graph, key: NodeKey) -> Option<NodeKey> {
    let is_overlay = |&edge: &EdgeKey| match graph.edges[edge].parent {
        ParentRef::Node(parent) => (graph.cow_edge(parent) == Some(edge)).then_some(parent),
        _ => None,
    };
    graph.node(key).parents.iter().find_map(is_overlay)
}

/// Frees `allowed` of what one value has blocked.
fn free(bql: &mut BqlGuard, node: &Node, id: u64, allowed: Operations) {
    let key = node.key(bql);
    let blockers = &mut bql.graph_mut().nodes[key].blockers;
    if let Some(blocker) = blockers.iter_mut().find(|blocker| blocker.id == id) {
        blocker.blocked -= allowed;
    }
    blockers.retain(|blocker| !blocker.blocked.is_empty());
}

impl OpBlock {
    /// Frees some of the operations (`bdrv_op_unblock`), and keeps the others
    /// blocked.
    pub fn allow(&mut self, bql: &mut BqlGuard, allowed: Operations) {
        if let Some(node) = &self.node {
            free(bql, node, self.id, allowed);
        }
    }

    /// Frees all of them, at once (`bdrv_op_unblock_all`).
    pub fn unblock(mut self, bql: &mut BqlGuard) {
        if let Some(node) = self.node.take() {
            free(bql, &node, self.id, Operations::all());
        }
    }
}

impl Drop for OpBlock {
    fn drop(&mut self) {
        let Some(node) = self.node.take() else {
            return;
        };
        let id = self.id;
        self.layer.schedule(Box::new(move |bql| {
            // The layer may have closed the node although it had a handle.
            if node.is_open(bql) {
                free(bql, &node, id, Operations::all());
            }
        }));
    }
}
