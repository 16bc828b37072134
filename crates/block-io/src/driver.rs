//! What a driver does with requests.

use std::any::Any;

use block_common::{IoError, Preallocation, WriteFlags};

use crate::dirty::StoredBitmap;
use crate::{
    AmendReady, BackingName, BlockStatus, CheckResult, Destination, DriverInfo, Findings, IoFuture,
    Repairs, Request, ScsiCommand, ScsiReply, Source, Zone, ZoneOperation,
};

/// What a driver can do, which does not change while the node exists
/// (`supported_write_flags` and the like, and which callbacks are there).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Capabilities {
    /// Every request means the same on the child called `file`, and the node
    /// wants to see none. Requests then skip the node: which node they reach
    /// is decided when the graph changes and not when they run. The driver's
    /// functions still work, for requests that begin at the node itself. Its
    /// `child_perm` must ask of the child at least what is asked of it.
    pub passes_through: bool,
    /// The node shows what the child called `file` has, and stores nothing
    /// itself: a chain of images goes on there (`is_filter`).
    pub filter: bool,
    /// The flags that [`DriverIo::write`] understands. The layer emulates
    /// [`WriteFlags::FUA`], and refuses [`WriteFlags::COMPRESSED`], where they
    /// are missing.
    pub write_flags: WriteFlags,
    /// There is a [`DriverIo::write_zeroes`], and it understands these flags.
    pub zero_flags: Option<WriteFlags>,
    /// There is a [`DriverIo::discard`].
    pub discards: bool,
    /// There is a [`DriverIo::flush_to_disk`], and it has something to do
    /// after writes only.
    pub flushes_to_disk: bool,
    /// The length may change without a request through this node, so it is
    /// asked for again where it matters (`has_variable_length`).
    pub variable_length: bool,
    /// Requests to the children may ask that nothing overlaps with them, so
    /// the children track overlaps.
    pub serialises_below: bool,
    /// A truncation can make sure that what is new reads as zeroes.
    pub truncates_to_zeroes: bool,
    /// The driver is told what those above it, and the layer, are doing with
    /// the node ([`DriverIo::debug_event`]).
    pub hears_events: bool,
}

/// How a node changes its length; see [`DriverIo::truncate`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Truncation {
    /// The new length in bytes.
    pub length: u64,
    /// Exactly this length; otherwise a device that is longer is fine.
    pub exact: bool,
    /// How the space of what is new is provided.
    pub preallocation: Preallocation,
    /// What is new must read as zeroes although a backing image has data
    /// there. Only with [`Capabilities::truncates_to_zeroes`].
    pub zeroes: bool,
}

/// One end of a copy.
#[derive(Clone, Copy, Debug)]
pub struct CopyEnd<'r> {
    /// The request, at the node that is copied from or to.
    pub request: Request<'r>,
    /// Where the range begins.
    pub offset: u64,
}

/// The I/O half of a driver (`BlockDriver`'s `bdrv_co_*` callbacks).
///
/// The functions run on whichever thread the request runs on, several at
/// once. They get a counted [`Request`] for their node and nothing else: no
/// proof of global state exists here, so a driver cannot change the graph,
/// take permissions or drain from an I/O function. What it needs of the graph
/// it asks of the request: [`Request::file`], [`Request::child`].
///
/// Offsets and lengths have been checked and made to fit the node's
/// [`BlockLimits`](block_common::BlockLimits): they are aligned, no longer
/// than the driver can do, and not empty; a read begins within the node's
/// length, a write within what the node may grow to.
///
/// A driver has to have `read` and `length`. What it has not got beyond that
/// is refused, or done by the child that QEMU would ask.
///
/// The global-state half is `block_gs::BlockDriver`.
pub trait DriverIo: Any + Send + Sync {
    /// What the driver can do.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// Fills `into` with the bytes from `offset` on (`bdrv_co_preadv_part`).
    ///
    /// # Errors
    /// Nothing may be assumed about the contents of `into` afterwards.
    fn read<'r>(&'r self, request: Request<'r>, offset: u64, into: Destination<'r>)
    -> IoFuture<'r>;

    /// Writes the bytes of `from` at `offset` (`bdrv_co_pwritev_part`). The
    /// flags are among [`Capabilities::write_flags`].
    ///
    /// # Errors
    /// Each block then holds its old or its new bytes.
    fn write<'r>(
        &'r self,
        _request: Request<'r>,
        _offset: u64,
        _from: Source<'r>,
        _flags: WriteFlags,
    ) -> IoFuture<'r> {
        IoFuture::failed(IoError::NotSupported)
    }

    /// Makes `bytes` bytes read as zeroes without being given any
    /// (`bdrv_co_pwrite_zeroes`). Asked only with
    /// [`Capabilities::zero_flags`].
    ///
    /// # Errors
    /// [`IoError::NotSupported`] lets the layer write zeroes from a buffer.
    fn write_zeroes<'r>(
        &'r self,
        _request: Request<'r>,
        _offset: u64,
        _bytes: u64,
        _flags: WriteFlags,
    ) -> IoFuture<'r> {
        IoFuture::failed(IoError::NotSupported)
    }

    /// Says that the contents are not needed any more (`bdrv_co_pdiscard`).
    /// Asked only with [`Capabilities::discards`]. The range may be less
    /// aligned than the node's limits say.
    ///
    /// # Errors
    /// [`IoError::NotSupported`] is not reported to whoever asked.
    fn discard<'r>(&'r self, _request: Request<'r>, _offset: u64, _bytes: u64) -> IoFuture<'r> {
        IoFuture::failed(IoError::NotSupported)
    }

    /// What is known about the beginning of a range (`bdrv_co_block_status`).
    /// With `precise`, zeroes are worth some effort to find. The answer may be
    /// about more than was asked for. Of a node without children the layer
    /// remembers data that is [stored](BlockStatus::stored_at) where it is read,
    /// until a request may have made a hole there, and does not ask again.
    ///
    /// # Errors
    /// When it cannot be found out.
    fn block_status<'r>(
        &'r self,
        _request: Request<'r>,
        _offset: u64,
        bytes: u64,
        _precise: bool,
    ) -> IoFuture<'r, BlockStatus<'r>> {
        IoFuture::ready(Ok(BlockStatus::data(bytes)))
    }

    /// Whether the image has room for one more bitmap, called `name`, that is
    /// kept with it (`bdrv_co_can_store_new_dirty_bitmap`). `granularity` is in
    /// bytes.
    ///
    /// # Errors
    /// Why not, in the driver's words; [`IoError::NotSupported`] when it keeps
    /// none.
    fn can_store_bitmap<'r>(
        &'r self,
        _request: Request<'r>,
        _name: &'r str,
        _granularity: u32,
    ) -> IoFuture<'r> {
        IoFuture::failed(IoError::NotSupported)
    }

    /// Removes the bitmap called `name` from the image, if it is there
    /// (`bdrv_co_remove_persistent_dirty_bitmap`).
    ///
    /// # Errors
    /// It may be there still.
    fn remove_stored_bitmap<'r>(&'r self, _request: Request<'r>, _name: &'r str) -> IoFuture<'r> {
        IoFuture::done()
    }

    /// Replaces the bitmaps that are kept with the image by these, when the
    /// node is closed or becomes inactive
    /// (`qcow2_store_persistent_dirty_bitmaps`).
    ///
    /// # Errors
    /// They are lost.
    fn store_bitmaps<'r>(
        &'r self,
        _request: Request<'r>,
        _bitmaps: &'r [StoredBitmap],
    ) -> IoFuture<'r> {
        IoFuture::failed(IoError::NotSupported)
    }

    /// Changes the length (`bdrv_co_truncate`).
    ///
    /// # Errors
    /// The length is then what it was.
    fn truncate<'r>(&'r self, _request: Request<'r>, _to: Truncation) -> IoFuture<'r> {
        IoFuture::failed(IoError::refused(
            block_common::error::errno::ENOTSUP,
            "Image format driver does not support resize",
        ))
    }

    /// Copies within the host, seen from the source: a format translates and
    /// asks its child, a protocol asks the target
    /// (`bdrv_co_copy_range_from`).
    ///
    /// # Errors
    /// [`IoError::NotSupported`] when it cannot be done without reading.
    fn copy_range_from<'r>(
        &'r self,
        _request: Request<'r>,
        _offset: u64,
        _to: CopyEnd<'r>,
        _bytes: u64,
        _flags: WriteFlags,
    ) -> IoFuture<'r> {
        IoFuture::failed(IoError::NotSupported)
    }

    /// Copies within the host, seen from the target; `from` is at a node of a
    /// protocol (`bdrv_co_copy_range_to`).
    ///
    /// # Errors
    /// As [`copy_range_from`](DriverIo::copy_range_from).
    fn copy_range_to<'r>(
        &'r self,
        _request: Request<'r>,
        _offset: u64,
        _from: CopyEnd<'r>,
        _bytes: u64,
        _flags: WriteFlags,
    ) -> IoFuture<'r> {
        IoFuture::failed(IoError::NotSupported)
    }

    /// Forgets what was kept of the image: another process may have changed
    /// it (`bdrv_co_invalidate_cache`). Asked by `block_gs::Node::activate`, in a
    /// drained section.
    ///
    /// # Errors
    /// The node stays inactive.
    fn invalidate_cache<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r> {
        IoFuture::done()
    }

    /// Makes what was written before durable, here and below
    /// (`bdrv_co_flush`). By default what [`Request::flush_layers`] says;
    /// a driver overrides it to look at the outcome.
    ///
    /// # Errors
    /// Earlier writes may be lost in a crash.
    fn flush<'r>(&'r self, request: Request<'r>) -> IoFuture<'r> {
        request.flush_layers()
    }

    /// Writes out what the driver itself keeps (`bdrv_co_flush_to_os`).
    ///
    /// # Errors
    /// Earlier writes may be lost.
    fn flush_to_os<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r> {
        IoFuture::done()
    }

    /// Makes durable what the host keeps of this node
    /// (`bdrv_co_flush_to_disk`). Asked only with
    /// [`Capabilities::flushes_to_disk`], one at a time, after writes.
    ///
    /// # Errors
    /// Earlier writes may be lost in a crash.
    fn flush_to_disk<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r> {
        IoFuture::done()
    }

    /// The node's length in bytes (`bdrv_co_getlength`).
    ///
    /// # Errors
    /// When it cannot be found out.
    fn length<'r>(&'r self, request: Request<'r>) -> IoFuture<'r, u64>;

    /// What there is to know about the image (`bdrv_co_get_info`). By default
    /// a filter asks the node it shows, and others know nothing.
    ///
    /// # Errors
    /// [`IoError::NotSupported`] when nothing is known.
    fn info<'r>(&'r self, request: Request<'r>) -> IoFuture<'r, DriverInfo> {
        match request.filtered() {
            Some(below) => below.info(),
            None => IoFuture::failed(IoError::NotSupported),
        }
    }

    /// How much of the host's storage the node takes, in bytes
    /// (`bdrv_co_get_allocated_file_size`). By default what the children
    /// take, without backing images.
    ///
    /// # Errors
    /// [`IoError::NotSupported`] when it is not known.
    fn allocated_size<'r>(&'r self, request: Request<'r>) -> IoFuture<'r, u64> {
        request.allocated_below()
    }

    /// Keeps a piece of the state of a virtual machine
    /// (`bdrv_co_save_vmstate`). By default the child does that the node
    /// stands on.
    ///
    /// # Errors
    /// [`IoError::NotSupported`] where nobody keeps state.
    fn save_vmstate<'r>(
        &'r self,
        request: Request<'r>,
        position: u64,
        from: Source<'r>,
    ) -> IoFuture<'r> {
        match request.primary() {
            Some(below) => below.save_vmstate(position, from),
            None => IoFuture::failed(IoError::NotSupported),
        }
    }

    /// Reads a piece of the state of a virtual machine
    /// (`bdrv_co_load_vmstate`). By default the child does that the node
    /// stands on.
    ///
    /// # Errors
    /// [`IoError::NotSupported`] where nobody keeps state.
    fn load_vmstate<'r>(
        &'r self,
        request: Request<'r>,
        position: u64,
        into: Destination<'r>,
    ) -> IoFuture<'r> {
        match request.primary() {
            Some(below) => below.load_vmstate(position, into),
            None => IoFuture::failed(IoError::NotSupported),
        }
    }

    /// Looks whether the image is consistent (`bdrv_co_check`), and tells
    /// `findings` at once what it finds.
    ///
    /// # Errors
    /// When it could not be looked at.
    fn check<'r>(
        &'r self,
        _request: Request<'r>,
        _repairs: Repairs,
        _findings: &'r dyn Findings,
    ) -> IoFuture<'r, CheckResult> {
        IoFuture::failed(IoError::NotSupported)
    }

    /// Changes options of the image (`bdrv_co_amend`), as the global-state
    /// half has prepared it.
    ///
    /// # Errors
    /// The image may be in between.
    fn amend<'r>(&'r self, _request: Request<'r>, _ready: &'r AmendReady) -> IoFuture<'r> {
        IoFuture::failed(IoError::NotSupported)
    }

    /// Writes the name of the backing image into the header
    /// (`bdrv_co_change_backing_file`).
    ///
    /// # Errors
    /// The header says what it said.
    fn change_backing_file<'r>(
        &'r self,
        _request: Request<'r>,
        _to: Option<BackingName<'r>>,
    ) -> IoFuture<'r> {
        IoFuture::failed(IoError::NotSupported)
    }

    /// Deletes the image's file (`bdrv_co_delete_file`).
    ///
    /// # Errors
    /// The file is still there.
    fn delete_file<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r> {
        IoFuture::failed(IoError::NotSupported)
    }

    /// Reads what was there at the time of a snapshot
    /// (`bdrv_co_preadv_snapshot`).
    ///
    /// # Errors
    /// As [`read`](DriverIo::read).
    fn read_snapshot<'r>(
        &'r self,
        _request: Request<'r>,
        _offset: u64,
        _into: Destination<'r>,
    ) -> IoFuture<'r> {
        IoFuture::failed(IoError::NotSupported)
    }

    /// Gives up a range of a snapshot (`bdrv_co_pdiscard_snapshot`).
    ///
    /// # Errors
    /// As [`discard`](DriverIo::discard).
    fn discard_snapshot<'r>(
        &'r self,
        _request: Request<'r>,
        _offset: u64,
        _bytes: u64,
    ) -> IoFuture<'r> {
        IoFuture::failed(IoError::NotSupported)
    }

    /// What is known about a range of a snapshot
    /// (`bdrv_co_snapshot_block_status`).
    ///
    /// # Errors
    /// As [`block_status`](DriverIo::block_status).
    fn snapshot_status<'r>(
        &'r self,
        _request: Request<'r>,
        _offset: u64,
        _bytes: u64,
        _precise: bool,
    ) -> IoFuture<'r, BlockStatus<'r>> {
        IoFuture::failed(IoError::NotSupported)
    }

    /// At most `most` zones from the one at `offset` on
    /// (`bdrv_co_zone_report`).
    ///
    /// # Errors
    /// [`IoError::NotSupported`] for what has no zones.
    fn zones<'r>(
        &'r self,
        _request: Request<'r>,
        _offset: u64,
        _most: usize,
    ) -> IoFuture<'r, Vec<Zone>> {
        IoFuture::failed(IoError::NotSupported)
    }

    /// Does something with the zones of a range (`bdrv_co_zone_mgmt`).
    ///
    /// # Errors
    /// [`IoError::NotSupported`] for what has no zones.
    fn manage_zones<'r>(
        &'r self,
        _request: Request<'r>,
        _operation: ZoneOperation,
        _offset: u64,
        _bytes: u64,
    ) -> IoFuture<'r> {
        IoFuture::failed(IoError::NotSupported)
    }

    /// Writes at the write pointer of the zone at `offset`, and says where
    /// that was (`bdrv_co_zone_append`).
    ///
    /// # Errors
    /// [`IoError::NotSupported`] for what has no zones.
    fn append_to_zone<'r>(
        &'r self,
        _request: Request<'r>,
        _offset: u64,
        _from: Source<'r>,
        _flags: WriteFlags,
    ) -> IoFuture<'r, u64> {
        IoFuture::failed(IoError::NotSupported)
    }

    /// Sends a command to a device (`bdrv_co_ioctl` with `SG_IO`).
    ///
    /// # Errors
    /// When it could not be sent. What the device says is in the reply.
    fn scsi<'r>(&'r self, _request: Request<'r>, _command: ScsiCommand) -> IoFuture<'r, ScsiReply> {
        IoFuture::failed(IoError::NotSupported)
    }

    /// Whether there is a medium (`bdrv_co_is_inserted`). By default whether
    /// every child has one.
    ///
    /// # Errors
    /// When it cannot be found out.
    fn is_inserted<'r>(&'r self, request: Request<'r>) -> IoFuture<'r, bool> {
        request.is_inserted_below()
    }

    /// Opens or closes the tray (`bdrv_co_eject`).
    ///
    /// # Errors
    /// It has not moved.
    fn eject<'r>(&'r self, _request: Request<'r>, _open: bool) -> IoFuture<'r> {
        IoFuture::done()
    }

    /// Locks or unlocks the tray (`bdrv_co_lock_medium`).
    ///
    /// # Errors
    /// It is as it was.
    fn lock_medium<'r>(&'r self, _request: Request<'r>, _locked: bool) -> IoFuture<'r> {
        IoFuture::done()
    }

    /// The driver above has reached a step of its work
    /// (`bdrv_co_debug_event`).
    ///
    /// # Errors
    /// Drivers for debugging may let the step fail.
    fn debug_event<'r>(&'r self, _request: Request<'r>, _event: &'static str) -> IoFuture<'r> {
        IoFuture::done()
    }
}
