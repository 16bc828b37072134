//! `raw`: an image without a format, or a window of one.

mod guard;

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

use block_common::error::errno;
use block_common::role::PermPair;
use block_gs::{
    AfterReopen, BlockDriver, BlockSizes, BqlCell, BqlGuard, ChildPermQuery, DiskGeometry, Drained,
    GraphError, Measurement, Node, NodeBuilder, NodeOptions, NodeView, Perm, PreparedReopen,
    ReopenCommit, ReopenOptions, ReopenTo, Role, Value,
};
use block_io::{
    BlockStatus, Capabilities, CopyEnd, Destination, DriverInfo, DriverIo, GraphCell, IoError,
    IoFuture, Request, ScsiCommand, ScsiReply, Source, Truncation, WriteFlags, Zone, ZoneOperation,
};

use crate::blkdebug::Blkdebug;
use crate::forward::{AS_THE_CHILD, at_file, file_length};
use crate::options::node_options;
use guard::Guard;

/// The bytes of the child `file`, or a window of them (`raw-format.c`).
///
/// Without an offset and a size it hands every request on as it is, and the
/// child is its filtered one. With one of them it is a format of its own
/// whose data the child holds; where the window is can then be
/// [changed](Raw::set_window) in a drained section.
///
/// A guest that writes its first sector can make its image look like one of a
/// format, such as one that has any file of the host for a backing file. If
/// nobody said that the image is `raw`, the next one to look will believe it.
/// [`guarded`](RawOptions::guarded) is for such images.
#[derive(Debug)]
pub struct Raw {
    /// `None` shows the whole child. Then there is no cell to be looked at.
    window: Option<GraphCell<Window>>,
    /// The same, for global-state code.
    shown: BqlCell<Cell<Window>>,
    guard: Option<Guard>,
    /// Whether the child is for debugging and hears of reads and writes.
    is_heard: bool,
}

/// Which bytes of the child are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Window {
    offset: u64,
    size: Option<u64>,
}

impl Window {
    /// Checks against the length of the child, in QEMU's order and words.
    fn check(self, file_length: u64) -> Result<(), GraphError> {
        let Window { offset, size } = self;
        let refuse = |message| Err(refused(message));
        let Some(rest) = file_length.checked_sub(offset) else {
            return refuse(format!(
                "Offset ({offset}) cannot be greater than size of the containing file \
                 ({file_length})"
            ));
        };
        match size {
            // The two blanks are QEMU's.
            Some(size) if size > rest => refuse(format!(
                "The sum of offset ({offset}) and size ({size}) has to be smaller or equal to \
                 the  actual size of the containing file ({file_length})"
            )),
            Some(size) if !size.is_multiple_of(SECTOR) => {
                refuse(format!("Specified size is not multiple of {SECTOR}"))
            }
            _ => Ok(()),
        }
    }

    /// How much of a child that long is shown.
    fn length(self, file_length: u64) -> u64 {
        let rest = file_length.saturating_sub(self.offset);
        self.size.map_or(rest, |size| size.min(rest))
    }

    /// Where a request goes in the child, or `outside` as errno.
    fn translate(self, offset: u64, bytes: u64, outside: i32) -> Result<u64, IoError> {
        let refused = IoError::from_errno;
        let end = offset.checked_add(bytes);
        if self
            .size
            .is_some_and(|size| end.is_none_or(|end| end > size))
        {
            return Err(refused(outside));
        }
        let start = offset.checked_add(self.offset);
        start.ok_or_else(|| refused(errno::EINVAL))
    }
}

fn refused(message: String) -> GraphError {
    GraphError::Refused {
        message,
        errno: errno::EINVAL,
    }
}

/// What of a [`Raw`]'s own options can change while it is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RawSettings {
    /// Begins this many bytes into the child.
    pub offset: u64,
    /// Shows this many bytes, a multiple of 512; with `None` all that are
    /// left.
    pub size: Option<u64>,
}

/// Another window, which fits.
struct Moved(Window);

impl PreparedReopen for Moved {
    fn commit(self: Box<Self>, reopen: &mut ReopenCommit<'_>) -> AfterReopen {
        let node = reopen.node().clone();
        let raw = node.driver::<Raw>()?;
        reopen.set(raw.window.as_ref()?, self.0);
        raw.shown.get(reopen).set(self.0);
        None
    }
}

/// Sizes are given in whole sectors.
const SECTOR: u64 = 512;

impl Raw {
    /// A node over `file`, to be opened.
    pub fn over(file: &Node) -> RawOptions {
        RawOptions {
            file: file.clone(),
            window: Window {
                offset: 0,
                size: None,
            },
            options: NodeOptions::default(),
            guard: None,
        }
    }

    /// Whether some writes to the first sector are refused.
    pub fn is_guarded(&self) -> bool {
        self.guard.is_some()
    }

    /// Moves the window of a node that was opened with an offset or a size,
    /// by [reopening](Drained::reopen) it with these [`RawSettings`]. The
    /// section proves that no request is between the old window and the new
    /// one.
    ///
    /// # Errors
    /// [`GraphError::Refused`] when the node is not `raw`, was opened without
    /// a window (its child is a filtered one, and would no longer be), or the
    /// window does not fit into the child. Nothing has changed then.
    pub fn set_window(
        drained: &mut Drained<'_>,
        offset: u64,
        size: Option<u64>,
    ) -> Result<(), GraphError> {
        let node = drained.node().clone();
        if node.driver::<Raw>().is_none() {
            let text = format!("Node '{}' is not a raw image", node.name());
            return Err(refused(text));
        }
        let options = node.view(drained).options();
        drained.reopen(ReopenOptions::new(options).settings(RawSettings { offset, size }))
    }

    /// Who looks at a request, and the bytes of the file that it is for.
    fn guard(&self, request: Request<'_>, offset: u64, bytes: u64) -> Option<(&Guard, Range<u64>)> {
        let guard = self.guard.as_ref()?;
        let window = self.window(request).unwrap_or_default();
        let start = offset.saturating_add(window.offset);
        let range = start..start.saturating_add(bytes);
        Guard::minds(&range).then_some((guard, range))
    }

    fn window(&self, request: Request<'_>) -> Option<Window> {
        self.window.as_ref().map(|cell| *cell.get(request))
    }

    /// Does `f` at the child, unless only a window of it is shown.
    fn at_whole_file<'r, T>(
        &'r self,
        request: Request<'r>,
        f: impl FnOnce(Request<'r>) -> IoFuture<'r, T>,
    ) -> IoFuture<'r, T> {
        match self.window {
            None => at_file(request, f),
            Some(_) => IoFuture::failed(IoError::NotSupported),
        }
    }

    /// Does `f` at the child, where the range begins there; `outside` is the
    /// errno for a range that is not shown.
    fn inside<'r, T>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        bytes: u64,
        outside: i32,
        f: impl FnOnce(Request<'r>, u64) -> IoFuture<'r, T>,
    ) -> IoFuture<'r, T> {
        let window = self.window(request).unwrap_or_default();
        match window.translate(offset, bytes, outside) {
            Ok(start) => at_file(request, |file| f(file, start)),
            Err(error) => IoFuture::failed(error),
        }
    }
}

/// How to open a [`Raw`].
#[derive(Clone, Debug)]
#[must_use = "the node is made by `open`"]
pub struct RawOptions {
    file: Node,
    window: Window,
    options: NodeOptions,
    guard: Option<fn(&[u8]) -> bool>,
}

impl RawOptions {
    /// Begins this many bytes into the child.
    pub fn offset(mut self, offset: u64) -> Self {
        self.window.offset = offset;
        self
    }

    /// Shows this many bytes, a multiple of 512; with `None` all that are
    /// left.
    pub fn size(mut self, size: Option<u64>) -> Self {
        self.window.size = size;
        self
    }

    /// Refuses writes, with `EPERM`, after which the first 512 bytes would be
    /// such that `is_raw` says no: for an image that was taken for `raw` only
    /// because of them. Of a shorter file it gets all there is, and again with
    /// zeroes behind.
    pub fn guarded(mut self, is_raw: fn(&[u8]) -> bool) -> Self {
        self.guard = Some(is_raw);
        self
    }

    node_options!(options, read_only);

    /// Makes the node. Needs the exclusive proof because a new node enters
    /// the graph.
    ///
    /// # Errors
    /// [`GraphError::Refused`] when the window does not fit into the child;
    /// those of [`NodeBuilder::open`].
    pub fn open(self, bql: &mut BqlGuard, name: &str) -> Result<Node, GraphError> {
        let RawOptions {
            file,
            window,
            options,
            guard,
        } = self;
        let builder = NodeBuilder::new(name).options(options);
        let shown = BqlCell::new(bql, Cell::new(window));
        let shows_all = window.offset == 0 && window.size.is_none();
        let (role, window) = if shows_all {
            (Role::FILTERED | Role::PRIMARY, None)
        } else {
            window.check(file.length(bql))?;
            check_has_bytes(bql, &file)?;
            let cell = GraphCell::new(builder.uid(), window);
            (Role::DATA | Role::PRIMARY, Some(cell))
        };
        let is_heard = file.driver::<Blkdebug>().is_some();
        builder.child("file", &file, role).open(
            bql,
            Arc::new(Raw {
                is_heard,
                window,
                shown,
                guard: guard.map(Guard::new),
            }),
        )
    }
}

/// What takes commands only has no range to show.
fn check_has_bytes(bql: &BqlGuard, file: &Node) -> Result<(), GraphError> {
    if !file.view(bql).is_scsi_generic(bql) {
        return Ok(());
    }
    Err(GraphError::Refused {
        message: "Cannot use offset/size with SCSI generic devices".to_owned(),
        errno: errno::EINVAL,
    })
}

impl DriverIo for Raw {
    /// Without a window there is nothing to do for any request.
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            passes_through: self.window.is_none() && self.guard.is_none() && !self.is_heard,
            filter: self.window.is_none(),
            ..AS_THE_CHILD
        }
    }

    fn read<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        into: Destination<'r>,
    ) -> IoFuture<'r> {
        let bytes = into.len() as u64;
        if self.is_heard {
            return IoFuture::new(async move {
                request.file()?.debug_event("read_aio").await?;
                let read = |file: Request<'r>, start| file.read(start, into);
                self.inside(request, offset, bytes, errno::EINVAL, read)
                    .await
            });
        }
        self.inside(request, offset, bytes, errno::EINVAL, |file, start| {
            file.read(start, into)
        })
    }

    fn write<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        from: Source<'r>,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        let bytes = from.len() as u64;
        let write = move |file: Request<'r>, start| file.write_with(start, from, flags);
        let guarded = self.guard(request, offset, bytes);
        if guarded.is_none() && !self.is_heard {
            return self.inside(request, offset, bytes, errno::ENOSPC, write);
        }
        IoFuture::new(async move {
            let _turn = match guarded {
                Some((guard, range)) => {
                    let turn = guard.turn(flags).await?;
                    guard.check(request, range, Some(from)).await?;
                    Some(turn)
                }
                None => None,
            };
            request.file()?.debug_event("write_aio").await?;
            self.inside(request, offset, bytes, errno::ENOSPC, write)
                .await
        })
    }

    fn write_zeroes<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        bytes: u64,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        let zero = move |file: Request<'r>, start| file.write_zeroes(start, bytes, flags);
        let Some((guard, range)) = self.guard(request, offset, bytes) else {
            return self.inside(request, offset, bytes, errno::ENOSPC, zero);
        };
        IoFuture::new(async move {
            let _turn = guard.turn(flags).await?;
            guard.check(request, range, None).await?;
            self.inside(request, offset, bytes, errno::ENOSPC, zero)
                .await
        })
    }

    /// What becomes of discarded bytes is not known before, so of a guarded
    /// image the first sector goes as a whole or stays.
    fn discard<'r>(&'r self, request: Request<'r>, offset: u64, bytes: u64) -> IoFuture<'r> {
        let discard = move |offset, bytes| {
            self.inside(request, offset, bytes, errno::ENOSPC, |file, start| {
                file.discard(start, bytes)
            })
        };
        let Some((guard, range)) = self.guard(request, offset, bytes) else {
            return discard(offset, bytes);
        };
        if range.start > 0 || range.end < SECTOR {
            let kept = bytes.min(SECTOR - range.start);
            return match bytes - kept {
                0 => IoFuture::done(),
                rest => discard(offset + kept, rest),
            };
        }
        IoFuture::new(async move {
            let _turn = guard.turn(WriteFlags::empty()).await?;
            discard(offset, bytes).await
        })
    }

    /// Data of the child, wherever the window begins.
    fn block_status<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        bytes: u64,
        precise: bool,
    ) -> IoFuture<'r, BlockStatus<'r>> {
        let bytes = self.window(request).and_then(|window| window.size).map_or(
            bytes,
            // The layer asks for whole blocks, the last may reach too far.
            |size| bytes.min(size.saturating_sub(offset)),
        );
        self.inside(request, offset, bytes, errno::EINVAL, |file, start| {
            file.block_status(start, bytes, precise)
        })
    }

    fn truncate<'r>(&'r self, request: Request<'r>, to: Truncation) -> IoFuture<'r> {
        let window = self.window(request).unwrap_or_default();
        if window.size.is_some() {
            return IoFuture::failed(IoError::refused(
                errno::ENOTSUP,
                "Cannot resize fixed-size raw disks",
            ));
        }
        let Some(length) = to.length.checked_add(window.offset) else {
            return IoFuture::failed(IoError::refused(
                errno::EINVAL,
                "Disk size too large for the chosen offset",
            ));
        };
        at_file(request, |file| {
            file.truncate(length, to.exact, to.preallocation)
        })
    }

    fn copy_range_from<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        to: CopyEnd<'r>,
        bytes: u64,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        self.inside(request, offset, bytes, errno::EINVAL, |file, start| {
            file.copy_range(start, to, bytes, flags)
        })
    }

    fn copy_range_to<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        from: CopyEnd<'r>,
        bytes: u64,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        if self.guard(request, offset, bytes).is_some() {
            // Reading and writing shows what it is.
            return IoFuture::failed(IoError::NotSupported);
        }
        self.inside(request, offset, bytes, errno::ENOSPC, |file, start| {
            file.copy_range_to(start, from, bytes, flags)
        })
    }

    fn length<'r>(&'r self, request: Request<'r>) -> IoFuture<'r, u64> {
        let window = self.window(request);
        file_length(request, move |length| {
            window.map_or(length, |window| window.length(length))
        })
    }

    fn info<'r>(&'r self, request: Request<'r>) -> IoFuture<'r, DriverInfo> {
        at_file(request, Request::info)
    }

    /// Zones are those of a whole device.
    fn zones<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        most: usize,
    ) -> IoFuture<'r, Vec<Zone>> {
        self.at_whole_file(request, |file| file.zones(offset, most))
    }

    fn manage_zones<'r>(
        &'r self,
        request: Request<'r>,
        operation: ZoneOperation,
        offset: u64,
        bytes: u64,
    ) -> IoFuture<'r> {
        self.at_whole_file(request, |file| file.manage_zones(operation, offset, bytes))
    }

    fn append_to_zone<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        from: Source<'r>,
        flags: WriteFlags,
    ) -> IoFuture<'r, u64> {
        self.at_whole_file(request, |file| file.append_to_zone(offset, from, flags))
    }

    fn scsi<'r>(&'r self, request: Request<'r>, command: ScsiCommand) -> IoFuture<'r, ScsiReply> {
        self.at_whole_file(request, |file| file.scsi(command))
    }

    fn eject<'r>(&'r self, request: Request<'r>, open: bool) -> IoFuture<'r> {
        at_file(request, |file| file.eject(open))
    }

    fn lock_medium<'r>(&'r self, request: Request<'r>, locked: bool) -> IoFuture<'r> {
        at_file(request, |file| file.lock_medium(locked))
    }
}

impl BlockDriver for Raw {
    fn format_name(&self) -> &'static str {
        "raw"
    }

    fn strong_options(&self, bql: &BqlGuard) -> Vec<(&'static str, Value)> {
        let Window { offset, size } = self.shown.get(bql).get();
        let offset = (offset > 0).then_some(("offset", offset.into()));
        let size = size.map(|size| ("size", size.into()));
        offset.into_iter().chain(size).collect()
    }

    fn reopens(&self) -> bool {
        true
    }

    fn reopen_prepare(
        &self,
        section: &mut Drained<'_>,
        to: &ReopenTo<'_>,
    ) -> Result<Box<dyn PreparedReopen>, GraphError> {
        let Some(&RawSettings { offset, size }) = to.settings()? else {
            return Ok(Box::new(()));
        };
        let window = Window { offset, size };
        if window == self.shown.get(section).get() {
            return Ok(Box::new(()));
        }
        if self.window.is_none() {
            let name = section.node().name();
            return Err(refused(format!(
                "Node '{name}' was opened without offset and size, and shows all of its file"
            )));
        }
        let length = async |request: Request<'_>| file_length(request, |length| length).await;
        window.check(section.io(length)?)?;
        Ok(Box::new(Moved(window)))
    }

    fn is_scsi_generic(&self, bql: &BqlGuard, node: NodeView<'_>) -> Option<bool> {
        Some(node.primary_node()?.is_scsi_generic(bql))
    }

    fn has_zero_init(&self, bql: &BqlGuard, node: NodeView<'_>) -> Option<bool> {
        Some(node.primary_node()?.has_zero_init(bql))
    }

    /// The device's, where all of it is shown.
    fn block_sizes(&self, bql: &BqlGuard, node: NodeView<'_>) -> Option<BlockSizes> {
        let file = node.primary_node().filter(|_| self.window.is_none());
        file?.probe_block_sizes(bql)
    }

    /// The device's, where all of it is shown.
    fn disk_geometry(&self, bql: &BqlGuard, node: NodeView<'_>) -> Option<DiskGeometry> {
        let file = node.primary_node().filter(|_| self.window.is_none());
        file?.probe_geometry(bql)
    }

    fn cancel_in_flight(&self, bql: &BqlGuard, node: NodeView<'_>) {
        if let Some(file) = node.primary_node() {
            file.cancel_in_flight(bql);
        }
    }

    /// Whole sectors.
    fn measure(
        &self,
        _bql: &BqlGuard,
        length: u64,
        input: Option<NodeView<'_>>,
    ) -> Result<Measurement, GraphError> {
        let length = input.map_or(length, NodeView::length);
        let required = length.checked_next_multiple_of(SECTOR);
        let required = required.ok_or(IoError::from_errno(errno::EINVAL))?;
        Ok(Measurement {
            required,
            fully_allocated: required,
            bitmaps: None,
        })
    }

    /// The default rules assume a format whose file grows with any write.
    /// Here a write ends where it says, so the child is asked to be written
    /// and resized exactly when the node is.
    fn child_perm(&self, _bql: &BqlGuard, query: &ChildPermQuery<'_>) -> PermPair {
        let PermPair { perm, shared } = query.default_perms();
        let as_asked = Perm::WRITE | Perm::RESIZE;
        PermPair {
            perm: (perm - as_asked) | (query.cumulative.perm & as_asked),
            shared,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_moved_by_the_offset_and_stopped_at_the_size() {
        let window = Window {
            offset: 1000,
            size: Some(512),
        };
        let outside = |offset, bytes, errno| {
            let refused = window.translate(offset, bytes, errno);
            refused.expect_err("outside").errno()
        };
        assert_eq!(window.translate(0, 512, errno::EINVAL).ok(), Some(1000));
        assert_eq!(window.translate(512, 0, errno::EINVAL).ok(), Some(1512));
        assert_eq!(outside(511, 2, errno::ENOSPC), errno::ENOSPC);
        assert_eq!(outside(513, 0, errno::EINVAL), errno::EINVAL);
        assert_eq!(outside(u64::MAX, 2, errno::EINVAL), errno::EINVAL);
    }

    #[test]
    fn offsets_do_not_wrap_around() {
        let window = Window {
            offset: u64::MAX - 10,
            size: None,
        };
        assert_eq!(window.translate(10, 1, errno::EIO).ok(), Some(u64::MAX));
        let refused = window.translate(11, 1, errno::EIO);
        assert_eq!(refused.expect_err("too far").errno(), errno::EINVAL);
        assert_eq!(window.length(1 << 40), 0);
    }
}
