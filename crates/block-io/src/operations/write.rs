//! Writing.

use std::ops::Range;

use block_common::{IoError, Perm, WriteFlags, limits};

use super::pad::{self, Padding, longest_bounce, longest_piece};
use crate::after::After;
use crate::engine::Entered;
use crate::node::NodeFlags;
use crate::{Buffer, IoFuture, Request, Source};

impl<'r> Request<'r> {
    /// Writes the bytes of `from` at `offset` (`bdrv_co_pwritev`). A node
    /// whose edge has [`Perm::RESIZE`] grows when the write ends beyond it.
    ///
    /// # Errors
    /// [`IoError::ReadOnly`], [`IoError::Inactive`], [`IoError::Permission`],
    /// [`IoError::OutOfRange`], otherwise the driver's: each block then has
    /// its old or its new bytes.
    pub fn write(self, offset: u64, from: Source<'r>) -> IoFuture<'r> {
        self.write_with(offset, from, WriteFlags::empty())
    }

    /// As [`write`](Request::write), with flags.
    ///
    /// # Errors
    /// Also [`IoError::NotSupported`] for flags that cannot be honoured, and
    /// [`IoError::Busy`] for [`WriteFlags::NO_WAIT`].
    pub fn write_with(self, offset: u64, from: Source<'r>, flags: WriteFlags) -> IoFuture<'r> {
        let node = self.node();
        let bytes = from.len() as u64;
        let bounds = self.limits();
        let unaligned = (offset | bytes) & u64::from(bounds.request_alignment - 1);
        let inside = bytes.wrapping_sub(1) < bounds.max_transfer
            && offset
                .checked_add(bytes)
                .is_some_and(|end| end <= node.length());
        if inside
            && unaligned == 0
            && flags.is_empty()
            && node.has_plain_writes()
            && self.perm().contains(Perm::WRITE)
            && from.segment_count() <= bounds.max_segments
        {
            let running = node.driver().write(self, offset, from, flags);
            return match node.capabilities().flushes_to_disk {
                true => running.then(After::write(node, offset..offset + bytes, false, None)),
                false => running,
            };
        }
        self.write_with_care(offset, from, flags)
    }

    #[cold]
    fn write_with_care(self, offset: u64, from: Source<'r>, flags: WriteFlags) -> IoFuture<'r> {
        let bytes = from.len() as u64;
        let checked =
            limits::check_data_request(offset, bytes).and_then(|()| self.check_writable(flags));
        if let Err(error) = checked {
            return IoFuture::failed(error);
        }
        // Also because nothing would make the node longer.
        if from.is_empty() {
            return IoFuture::done();
        }
        let flags = self.without_idle_fua(flags);
        match self.write_directly(offset, from, flags) {
            Some(running) => running,
            None => IoFuture::new(async move { self.write_slowly(offset, from, flags).await }),
        }
    }

    /// A write that only has to be entered, or grows the node: one box at
    /// most.
    fn write_directly(
        self,
        offset: u64,
        from: Source<'r>,
        flags: WriteFlags,
    ) -> Option<IoFuture<'r>> {
        let node = self.node();
        let bounds = self.limits();
        let range = offset..offset + from.len() as u64;
        let beyond = NodeFlags::DETECT_ZEROES
            .union(NodeFlags::WATCHED)
            .union(NodeFlags::HEARS_EVENTS);
        let native = node.capabilities().write_flags & (WriteFlags::FUA | WriteFlags::UNCHANGED);
        let direct = pad::align(&range, bounds.request_alignment) == range
            && from.len() as u64 <= bounds.max_transfer
            && from.segment_count() <= bounds.max_segments
            && !node.flags().intersects(beyond)
            && (native | WriteFlags::UNCHANGED).contains(flags);
        if !direct || self.check_growth(range.end).is_err() {
            return None;
        }
        let grows = range.end > node.length();
        let entered = match grows || !node.tracks_nothing() {
            true => Some(node.overlaps().try_enter(range.clone(), false)?),
            false => None,
        };
        let running = node.driver().write(self, offset, from, flags & native);
        let after = After::write(node, range, grows, entered);
        Some(running.then(after))
    }

    async fn write_slowly(
        self,
        offset: u64,
        from: Source<'_>,
        flags: WriteFlags,
    ) -> Result<(), IoError> {
        let node = self.node();
        let range = offset..offset + from.len() as u64;
        let may_be_zeroes = node.flags().contains(NodeFlags::DETECT_ZEROES)
            && node.capabilities().zero_flags.is_some()
            && !flags.contains(WriteFlags::COMPRESSED);
        if may_be_zeroes && from.is_zero() {
            let unmap = node.flags().contains(NodeFlags::DETECT_UNMAP);
            let mut flags = flags;
            flags.set(WriteFlags::MAY_UNMAP, unmap);
            return self.zero_range(range, flags).await;
        }
        let padding = Padding::of(&range, self.limits().request_alignment);
        if padding.is_some() && flags.contains(WriteFlags::NO_FALLBACK) {
            return Err(IoError::NotSupported);
        }
        let fua = self.split_flags(flags)?;
        let blocks = pad::align(&range, self.limits().request_alignment);
        let _entered = self
            .enter_write(&range, &blocks, flags, padding.is_some())
            .await?;
        let written = match padding {
            None => {
                self.report("pwritev").await;
                self.write_pieces(offset, from, fua.native).await
            }
            Some(padding) => {
                let ends = padding.read_ends(self).await?;
                let whole = ends.around(from);
                self.report("pwritev").await;
                self.write_pieces(blocks.start, whole.source(), fua.native)
                    .await
            }
        };
        self.report("pwritev_done").await;
        written?;
        self.finish(fua).await
    }

    /// A node that is never flushed has nothing durable either
    /// (`BDRV_O_NO_FLUSH`).
    pub(super) fn without_idle_fua(self, flags: WriteFlags) -> WriteFlags {
        match self.node().flags().contains(NodeFlags::NO_FLUSH) {
            true => flags - WriteFlags::FUA,
            false => flags,
        }
    }

    /// What a request must have to change anything at all.
    pub(super) fn check_writable(self, flags: WriteFlags) -> Result<(), IoError> {
        let node = self.node();
        if node.flags().contains(NodeFlags::READ_ONLY) {
            return Err(IoError::ReadOnly);
        }
        if node.flags().contains(NodeFlags::INACTIVE) {
            return Err(IoError::Inactive);
        }
        if node.flags().contains(NodeFlags::KEPT_BITMAPS) {
            return Err(IoError::from_errno(block_common::error::errno::EPERM));
        }
        let enough = match flags.contains(WriteFlags::UNCHANGED) {
            true => Perm::WRITES,
            false => Perm::WRITE,
        };
        if !self.perm().intersects(enough) {
            return Err(IoError::Permission(Perm::WRITE));
        }
        if flags.contains(WriteFlags::SERIALISING) && !node.flags().contains(NodeFlags::TRACKED) {
            return Err(IoError::refused(
                block_common::error::errno::EINVAL,
                format!("Node '{}' does not track overlapping requests", node.name()),
            ));
        }
        Ok(())
    }

    /// A write that ends at `end` may need to change the length.
    pub(super) fn check_growth(self, end: u64) -> Result<(), IoError> {
        if end > self.node().length() && !self.perm().contains(Perm::RESIZE) {
            return Err(IoError::Permission(Perm::RESIZE));
        }
        Ok(())
    }

    /// Waits for what overlaps, then checks what may have changed meanwhile,
    /// and tells whoever watches (`bdrv_co_write_req_prepare`).
    pub(super) async fn enter_write(
        self,
        range: &Range<u64>,
        blocks: &Range<u64>,
        flags: WriteFlags,
        padded: bool,
    ) -> Result<Option<Entered<'r>>, IoError> {
        let entered = self.enter_blocks(blocks, flags, padded).await?;
        // Whole blocks are written, so it is their end that counts.
        self.check_growth(blocks.end)?;
        self.node().watch(range);
        Ok(entered)
    }

    /// Waits for what overlaps, where anything can.
    pub(super) async fn enter_blocks(
        self,
        blocks: &Range<u64>,
        flags: WriteFlags,
        padded: bool,
    ) -> Result<Option<Entered<'r>>, IoError> {
        let node = self.node();
        let mut length = node.length();
        if blocks.end > length {
            length = self.length().await?;
        }
        let serialising = padded || flags.contains(WriteFlags::SERIALISING);
        if !serialising && node.tracks_nothing() && blocks.end <= length {
            return Ok(None);
        }
        let overlaps = node.overlaps();
        if flags.contains(WriteFlags::NO_WAIT) {
            let entered = overlaps.try_enter(blocks.clone(), serialising);
            return entered.map(Some).ok_or(IoError::Busy);
        }
        Ok(Some(overlaps.enter(blocks.clone(), serialising).await))
    }

    /// Which flags the driver takes, and what is left to do for it.
    pub(super) fn split_flags(self, flags: WriteFlags) -> Result<Fua, IoError> {
        let supported = self.node().capabilities().write_flags;
        if flags.contains(WriteFlags::COMPRESSED) && !supported.contains(WriteFlags::COMPRESSED) {
            return Err(IoError::NotSupported);
        }
        let emulate = (flags - supported).contains(WriteFlags::FUA);
        Ok(Fua {
            native: flags & supported,
            emulate,
        })
    }

    /// An aligned write, cut into what the driver takes. Grows the node as
    /// far as it gets.
    pub(super) async fn write_pieces(
        self,
        mut offset: u64,
        mut from: Source<'_>,
        flags: WriteFlags,
    ) -> Result<(), IoError> {
        let bounds = self.limits();
        let node = self.node();
        while !from.is_empty() {
            let mut bytes = longest_piece(bounds, from.len());
            if from.segment_count() > bounds.max_segments {
                bytes = bytes.min(longest_bounce(bounds));
            }
            let (piece, rest) = from.split_at(bytes);
            let end = offset + bytes as u64;
            let after = After::write(node, offset..end, true, None);
            let written = if piece.segment_count() > bounds.max_segments {
                let mut bounce = Buffer::zeroed(bytes);
                bounce.destination().copy_from(piece);
                let driver = node.driver();
                driver.write(self, offset, bounce.source(), flags).await
            } else {
                node.driver().write(self, offset, piece, flags).await
            };
            after.run(written.is_ok());
            written?;
            offset = end;
            from = rest;
        }
        Ok(())
    }

    /// What the driver could not do natively.
    pub(super) async fn finish(self, fua: Fua) -> Result<(), IoError> {
        match fua.emulate {
            true => self.flush().await,
            false => Ok(()),
        }
    }
}

/// Who sees to the flags of a write.
#[derive(Clone, Copy)]
pub(super) struct Fua {
    /// The flags that go to the driver.
    pub(super) native: WriteFlags,
    /// A flush makes the write durable afterwards.
    pub(super) emulate: bool,
}
