//! The global-state half of a driver.

use std::any::Any;
use std::sync::Arc;

use block_common::error::errno;
use block_common::role::{ParentState, PermPair, default_child_perms};
use block_common::{BlockLimits, GraphError, IoError, Role, Value};
use block_io::aio::AioContext;
use block_io::{DriverIo, IoNode, PinnedMemory};

use crate::{
    BlockSizes, BqlGuard, Breakpoints, DiskGeometry, Drained, HeaderBacking, Measurement, Node,
    NodeView, PreparedReopen, ReopenTo, Snapshots,
};

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

    /// What a filter calls the child that it shows.
    fn filtered_child_name(&self) -> &'static str {
        match self.filtered_child_is_backing() {
            true => "backing",
            false => "file",
        }
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

    /// Another process is about to take the image over: write out what is
    /// kept (`bdrv_inactivate`). Nobody above writes, and the section can do
    /// I/O. Bitmaps have been [stored](DriverIo::store_bitmaps); a driver that
    /// will find them in the image again may
    /// [let them go](Drained::release_stored_bitmaps). The way back is
    /// [`DriverIo::invalidate_cache`], then
    /// [`activated`](BlockDriver::activated). An active node is asked this too
    /// before it is closed; nobody hears of errors then.
    ///
    /// # Errors
    /// The node stays active, and so do all others that were to follow.
    fn inactivate(&self, _section: &mut Drained<'_>) -> Result<(), GraphError> {
        Ok(())
    }

    /// The image is ours again, and has been looked at anew: what takes a proof
    /// of global state follows here, such as bitmaps that another process has
    /// stored (the end of `bdrv_co_invalidate_cache`). The node can be written
    /// already, unless it is read-only.
    ///
    /// # Errors
    /// The node stays inactive.
    fn activated(&self, _section: &mut Drained<'_>) -> Result<(), GraphError> {
        Ok(())
    }

    /// Whether the node can be reopened
    /// ([`reopen_prepare`](BlockDriver::reopen_prepare)).
    fn reopens(&self) -> bool {
        false
    }

    /// Gets ready for other options (`bdrv_reopen_prepare`). The node is
    /// drained and flushed, and has the children still that it had; the
    /// section can do I/O. Whatever can fail has to fail here. What is
    /// returned is committed or aborted. Asked only with
    /// [`reopens`](BlockDriver::reopens).
    ///
    /// Permissions are refreshed in between: `check_perm` comes after this,
    /// `set_perm` after the commit.
    ///
    /// # Errors
    /// Nothing is reopened, of all nodes that were to be.
    fn reopen_prepare(
        &self,
        _section: &mut Drained<'_>,
        _to: &ReopenTo<'_>,
    ) -> Result<Box<dyn PreparedReopen>, GraphError> {
        Ok(Box::new(()))
    }

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

    /// Requests will use this memory again and again: whatever has to be done
    /// once to make that cheap is done here (`bdrv_register_buf`). Called once
    /// for each memory, before a request with it can get here, for all drivers
    /// below the backend. A request asks its memory whether that has been done:
    /// [`Destination::is_registered_at`](block_io::Destination::is_registered_at).
    ///
    /// # Errors
    /// The buffer is not registered anywhere, or the change of the graph undone
    /// that brought the node there.
    fn register_buffer(&self, _bql: &BqlGuard, _memory: &PinnedMemory) -> Result<(), GraphError> {
        Ok(())
    }

    /// Takes [`register_buffer`](BlockDriver::register_buffer) back
    /// (`bdrv_unregister_buf`). No request above the node is in flight.
    fn unregister_buffer(&self, _bql: &BqlGuard, _memory: &PinnedMemory) {}

    /// The node goes away (`bdrv_close`). It is drained and flushed, and has
    /// its children still.
    fn close(&self, _bql: &mut BqlGuard) {}

    /// The file name that alone is enough to open the node again
    /// (`bdrv_refresh_filename`). By default a format has that of its file,
    /// if no other option matters.
    fn filename(&self, _bql: &BqlGuard, _node: NodeView<'_>) -> Option<String> {
        None
    }

    /// The options of this driver that decide what is read, as they were
    /// given (`strong_runtime_opts`, `bdrv_gather_child_options`). Without
    /// children.
    fn strong_options(&self, _bql: &BqlGuard) -> Vec<(&'static str, Value)> {
        Vec::new()
    }

    /// What the image's header says about its backing image.
    fn header_backing(&self, _bql: &BqlGuard) -> Option<HeaderBacking> {
        None
    }

    /// The directory that names in the header are relative to, with a slash
    /// at its end (`bdrv_dirname`). By default that of the file.
    fn dirname(&self, _bql: &BqlGuard) -> Option<String> {
        None
    }

    /// What only this driver knows of its image
    /// (`bdrv_get_specific_info`).
    fn specific_info(&self, _bql: &BqlGuard) -> Option<Value> {
        None
    }

    /// Counters of its own (`bdrv_get_specific_stats`).
    fn specific_stats(&self, _bql: &BqlGuard) -> Option<Value> {
        None
    }

    /// The block sizes of the device (`bdrv_probe_blocksizes`). By default a
    /// filter has those of its child.
    fn block_sizes(&self, _bql: &BqlGuard, _node: NodeView<'_>) -> Option<BlockSizes> {
        None
    }

    /// Whether the node is a SCSI device that takes commands and no other
    /// requests (`bs->sg`). By default a filter is what its child is, and
    /// others are not.
    fn is_scsi_generic(&self, _bql: &BqlGuard, _node: NodeView<'_>) -> Option<bool> {
        None
    }

    /// The geometry of the disk (`bdrv_probe_geometry`). By default a filter
    /// has that of its child.
    fn disk_geometry(&self, _bql: &BqlGuard, _node: NodeView<'_>) -> Option<DiskGeometry> {
        None
    }

    /// Whether a new image of this kind reads as zeroes
    /// (`bdrv_has_zero_init`). By default as with the child of a filter, and
    /// not with anything else.
    fn has_zero_init(&self, _bql: &BqlGuard, _node: NodeView<'_>) -> Option<bool> {
        None
    }

    /// Whether what is read here is what is read at `other`, somewhere below
    /// (`bdrv_recurse_can_replace`). By default if it is so at the child of a
    /// filter.
    fn can_replace(
        &self,
        _bql: &BqlGuard,
        _node: NodeView<'_>,
        _other: NodeView<'_>,
    ) -> Option<bool> {
        None
    }

    /// Requests that wait for something outside may fail now
    /// (`bdrv_cancel_in_flight`). By default a filter tells its child.
    fn cancel_in_flight(&self, bql: &BqlGuard, node: NodeView<'_>) {
        if let Some(below) = node.filter_node() {
            below.cancel_in_flight(bql);
        }
    }

    /// Gives up everything that the image has on top of its backing image
    /// (`bdrv_make_empty`).
    ///
    /// # Errors
    /// The image may be in between.
    fn make_empty(&self, _section: &mut Drained<'_>) -> Result<(), GraphError> {
        let format = self.format_name();
        Err(GraphError::Refused {
            message: format!("{format} does not support emptying image files"),
            errno: errno::ENOTSUP,
        })
    }

    /// How much storage an image would take (`bdrv_measure`).
    ///
    /// # Errors
    /// When the format cannot tell.
    fn measure(
        &self,
        _bql: &BqlGuard,
        _length: u64,
        _input: Option<NodeView<'_>>,
    ) -> Result<Measurement, GraphError> {
        let format = self.format_name();
        Err(GraphError::Refused {
            message: format!("Block driver '{format}' does not support size measurement"),
            errno: errno::ENOTSUP,
        })
    }

    /// Gets ready for [`DriverIo::amend`], which has no proof of global state,
    /// and returns what that will need (`bdrv_amend_pre_run`).
    ///
    /// # Errors
    /// Nothing is amended.
    fn amend_pre_run(
        &self,
        _bql: &mut BqlGuard,
        _node: &Node,
        _options: &Value,
        _force: bool,
    ) -> Result<Box<dyn Any + Send + Sync>, GraphError> {
        let format = self.format_name();
        Err(GraphError::Refused {
            message: format!("Block driver '{format}' does not support option amendment"),
            errno: errno::ENOTSUP,
        })
    }

    /// Gives back what [`amend_pre_run`](BlockDriver::amend_pre_run) has got
    /// (`bdrv_amend_clean`).
    fn amend_clean(
        &self,
        _bql: &mut BqlGuard,
        _node: &Node,
        _prepared: Box<dyn Any + Send + Sync>,
    ) {
    }

    /// Whether children can be added and removed while the node is open.
    fn takes_children(&self) -> bool {
        false
    }

    /// Attaches one more child (`bdrv_add_child`). Asked only with
    /// [`takes_children`](BlockDriver::takes_children).
    ///
    /// # Errors
    /// The node has the children that it had.
    fn add_child(&self, _section: &mut Drained<'_>, _child: &Node) -> Result<(), GraphError> {
        Err(IoError::NotSupported.into())
    }

    /// Detaches a child (`bdrv_del_child`). Asked only with
    /// [`takes_children`](BlockDriver::takes_children).
    ///
    /// # Errors
    /// The node has the children that it had.
    fn del_child(&self, _section: &mut Drained<'_>, _edge: &str) -> Result<(), GraphError> {
        Err(IoError::NotSupported.into())
    }

    /// The snapshots that the driver keeps in its image, if it can.
    fn snapshots(&self) -> Option<&dyn Snapshots> {
        None
    }

    /// The breakpoints of a driver for debugging.
    fn breakpoints(&self) -> Option<&dyn Breakpoints> {
        None
    }
}
