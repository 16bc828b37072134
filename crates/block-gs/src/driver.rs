//! The global-state half of a driver.

use std::any::Any;
use std::sync::Arc;

use block_common::role::{ParentState, PermPair, default_child_perms};
use block_common::{BlockLimits, GraphError, Role};
use block_io::aio::AioContext;
use block_io::{DriverIo, IoNode};

use crate::BqlGuard;

/// What the permission system asks a driver about one of its children.
#[derive(Debug)]
pub struct ChildPermQuery<'q> {
    /// The name of the edge.
    pub name: &'q str,
    /// What the child is for.
    pub role: Role,
    /// The state of the node itself.
    pub parent: ParentState,
    /// What the node's own parents do, and let others do.
    pub cumulative: PermPair,
}

impl ChildPermQuery<'_> {
    /// The answer of the default rules (`bdrv_default_perms`).
    pub fn default_perms(&self) -> PermPair {
        default_child_perms(self.role, self.parent, self.cumulative)
    }
}

/// The global-state half of a driver (`BlockDriver`'s callbacks in
/// `block_int-global-state.h` terms).
///
/// Each callback gets the proof that its counterpart in QEMU assumes:
/// `&BqlGuard` to look at global state, `&mut BqlGuard` where it may also
/// poll. The drain callbacks get the shared one, so they *cannot* poll, nor
/// change the graph under the walk that calls them. Requests never come
/// through here; they see the [`DriverIo`] half only. Both halves are one
/// type: what they share is whatever of it is `Sync`, what only this half may
/// touch lives in a [`BqlCell`](crate::BqlCell).
///
/// Everything but the name has a default that suits a format with one file.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the global-state half of a driver",
    label = "shows no `BlockDriver`",
    note = "requests see the I/O half only; with a `&BqlGuard`, which the main loop lends, \
            `node.view(bql).driver()` shows the other",
    note = "a type that is to be a driver implements both `DriverIo` and `BlockDriver`"
)]
pub trait BlockDriver: DriverIo + Any {
    /// The name of the format or protocol (`format_name`).
    fn format_name(&self) -> &'static str;

    /// Whether the node shows exactly what its FILTERED child has
    /// (`is_filter`).
    fn is_filter(&self) -> bool {
        false
    }

    /// Whether a filter calls its child `backing` and not `file`
    /// (`filtered_child_is_backing`).
    fn filtered_child_is_backing(&self) -> bool {
        false
    }

    /// Whether the node can have a backing image (`supports_backing`).
    fn supports_backing(&self) -> bool {
        false
    }

    /// Whether bitmaps can be kept with the image
    /// (`bdrv_supports_persistent_dirty_bitmap`). Then the I/O half has
    /// [`can_store_bitmap`](DriverIo::can_store_bitmap) and its kin.
    fn supports_persistent_bitmaps(&self) -> bool {
        false
    }

    /// What the node needs of its requests (`bdrv_refresh_limits`). `limits`
    /// has what its children need, as far as that does not depend on offsets.
    /// Called when the node is made and when something below it changes.
    ///
    /// # Errors
    /// The node is not made, or the change of the graph undone.
    fn refresh_limits(&self, _bql: &BqlGuard, _limits: &mut BlockLimits) -> Result<(), GraphError> {
        Ok(())
    }

    /// What the driver needs of a child, and lets others do
    /// (`bdrv_child_perm`).
    fn child_perm(&self, _bql: &BqlGuard, query: &ChildPermQuery<'_>) -> PermPair {
        query.default_perms()
    }

    /// Whether the node can grant its parents what they ask together
    /// (`bdrv_check_perm`). Must prepare whatever can fail.
    ///
    /// # Errors
    /// The change is undone, and
    /// [`abort_perm_update`](BlockDriver::abort_perm_update) called on each
    /// node that had agreed.
    fn check_perm(&self, _bql: &BqlGuard, _asked: PermPair) -> Result<(), GraphError> {
        Ok(())
    }

    /// What was checked takes effect (`bdrv_set_perm`).
    fn set_perm(&self, _bql: &BqlGuard, _granted: PermPair) {}

    /// What was checked does not take effect (`bdrv_abort_perm_update`).
    fn abort_perm_update(&self, _bql: &BqlGuard) {}

    /// The node has been made and this driver is in charge of it. A driver
    /// that does something by itself ([`Activity`](block_io::Activity)) keeps
    /// a `Weak` of the node, which owns the driver.
    fn opened(&self, _bql: &BqlGuard, _node: &Arc<IoNode>) {}

    /// The node will begin nothing on its own account until
    /// [`drain_end`](BlockDriver::drain_end) (`bdrv_drain_begin`).
    /// What it has begun is waited for.
    fn drain_begin(&self, _bql: &BqlGuard) {}

    /// The last section over the node has ended (`bdrv_drain_end`).
    fn drain_end(&self, _bql: &BqlGuard) {}

    /// The node leaves its context; it is drained
    /// (`bdrv_detach_aio_context`).
    fn detach_context(&self, _bql: &BqlGuard, _node: &IoNode) {}

    /// The node arrives in a new context; it is drained
    /// (`bdrv_attach_aio_context`).
    fn attach_context(&self, _bql: &BqlGuard, _node: &IoNode, _context: &AioContext) {}

    /// The node goes away (`bdrv_close`). It is drained and flushed, and has
    /// its children still.
    fn close(&self, _bql: &mut BqlGuard) {}
}
