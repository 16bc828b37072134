//! What is known about a range.

use block_common::{IoError, StatusFlags, limits};

use super::pad;
use crate::{IoFuture, IoNode, Request};

/// What is known about the beginning of a range
/// (`bdrv_co_block_status`).
#[derive(Clone, Copy, Debug)]
pub struct BlockStatus<'r> {
    /// What it is.
    pub flags: StatusFlags,
    /// For how many bytes that is so. 0 only beyond the end of the node.
    pub bytes: u64,
    /// The node that stores it, and where in it (`map`, `file`;
    /// `BDRV_BLOCK_OFFSET_VALID`).
    pub at: Option<(&'r IoNode, u64)>,
}

impl<'r> BlockStatus<'r> {
    /// Data of the node itself, stored who knows where.
    pub fn data(bytes: u64) -> Self {
        BlockStatus {
            flags: StatusFlags::DATA | StatusFlags::ALLOCATED,
            bytes,
            at: None,
        }
    }

    /// Nothing: what the backing image has.
    pub fn unallocated(bytes: u64) -> Self {
        BlockStatus {
            flags: StatusFlags::empty(),
            bytes,
            at: None,
        }
    }

    /// Reads as zeroes.
    pub fn zero(bytes: u64) -> Self {
        BlockStatus {
            flags: StatusFlags::ZERO | StatusFlags::ALLOCATED,
            bytes,
            at: None,
        }
    }

    /// Stored in `node` from `offset` on.
    pub fn stored_at(self, node: &'r IoNode, offset: u64) -> Self {
        BlockStatus {
            at: Some((node, offset)),
            ..self
        }
    }
}

impl<'r> Request<'r> {
    /// What is known about the beginning of `bytes` bytes from `offset` on,
    /// all layers taken together (`bdrv_co_block_status`). With `precise`,
    /// zeroes are worth some effort to find; otherwise allocation is all that
    /// matters.
    ///
    /// # Errors
    /// The driver's.
    pub fn block_status(
        self,
        offset: u64,
        bytes: u64,
        precise: bool,
    ) -> IoFuture<'r, BlockStatus<'r>> {
        if let Err(error) = limits::check_request(offset, bytes) {
            return IoFuture::failed(error);
        }
        IoFuture::new(async move { self.status_of_layer(offset, bytes, precise).await })
    }

    /// As [`block_status`](Request::block_status), of the chain from this node
    /// down to, but without, `base` (`bdrv_co_block_status_above`); with
    /// `None` of the whole chain. The chain goes through filters, and ends at
    /// a base also when requests skip it. The answer is that of the first node which
    /// decides what is read; [`StatusFlags::ALLOCATED`] is missing when none
    /// above the base does. Also says how many nodes down that is.
    ///
    /// # Errors
    /// The drivers'.
    pub fn block_status_above(
        self,
        base: Option<&'r IoNode>,
        offset: u64,
        bytes: u64,
        precise: bool,
    ) -> IoFuture<'r, (BlockStatus<'r>, usize)> {
        if let Err(error) = limits::check_request(offset, bytes) {
            return IoFuture::failed(error);
        }
        IoFuture::new(async move { self.status_of_chain(base, offset, bytes, precise).await })
    }

    /// Whether this node itself, and not its backing image, decides what is
    /// read at `offset`, and for how many of `bytes` bytes that is so
    /// (`bdrv_co_is_allocated`).
    ///
    /// # Errors
    /// The driver's.
    pub fn is_allocated(self, offset: u64, bytes: u64) -> IoFuture<'r, (bool, u64)> {
        let status = self.block_status(offset, bytes, false);
        IoFuture::new(async move {
            let status = status.await?;
            let allocated = status.flags.contains(StatusFlags::ALLOCATED);
            Ok((allocated, status.bytes))
        })
    }

    /// How many nodes down the chain, above `base`, the one is that decides
    /// what is read at `offset` (1 for this one), and for how many of `bytes`
    /// bytes that is so (`bdrv_co_is_allocated_above`); `None` for none of
    /// them.
    ///
    /// # Errors
    /// The drivers'.
    pub fn is_allocated_above(
        self,
        base: Option<&'r IoNode>,
        offset: u64,
        bytes: u64,
    ) -> IoFuture<'r, (Option<usize>, u64)> {
        let status = self.block_status_above(base, offset, bytes, false);
        IoFuture::new(async move {
            let (status, depth) = status.await?;
            let allocated = status.flags.contains(StatusFlags::ALLOCATED);
            Ok((allocated.then_some(depth), status.bytes))
        })
    }

    /// Whether the whole range is known to read as zeroes, without an effort
    /// to find out (`bdrv_co_is_zero_fast`). An empty one does.
    ///
    /// # Errors
    /// The drivers'.
    pub fn is_zero_fast(self, offset: u64, bytes: u64) -> IoFuture<'r, bool> {
        if bytes == 0 {
            return IoFuture::ready(Ok(true));
        }
        let status = self.block_status_above(None, offset, bytes, false);
        IoFuture::new(async move {
            let (status, _) = status.await?;
            Ok(status.bytes == bytes && status.flags.contains(StatusFlags::ZERO))
        })
    }

    async fn status_of_chain(
        self,
        base: Option<&'r IoNode>,
        offset: u64,
        bytes: u64,
        precise: bool,
    ) -> Result<(BlockStatus<'r>, usize), IoError> {
        let is_base = |node: &IoNode| base.is_some_and(|base| base.uid() == node.uid());
        if is_base(self.node()) {
            return Ok((BlockStatus::unallocated(bytes), 0));
        }
        let length = self.length().await?;
        let mut status = self.status_of_layer(offset, bytes, precise).await?;
        let mut depth = 1;
        let mut at = self;
        let mut eof = status.flags.contains(StatusFlags::EOF);
        while !status.flags.contains(StatusFlags::ALLOCATED) && status.bytes > 0 {
            let Some(below) = at.next_in_chain(base) else {
                break;
            };
            at = below;
            depth += 1;
            let so_far = status.bytes;
            let below = at.status_of_layer(offset, so_far, precise).await?;
            status = if below.bytes == 0 {
                // The image ends here, and the one above shows zeroes.
                BlockStatus::zero(so_far)
            } else {
                below
            };
            eof = false;
        }
        let ends = offset + status.bytes == length;
        status.flags.set(StatusFlags::EOF, eof || ends);
        Ok((status, depth))
    }

    /// What this node, with its own children, says.
    pub(super) async fn status_of_layer(
        self,
        offset: u64,
        bytes: u64,
        precise: bool,
    ) -> Result<BlockStatus<'r>, IoError> {
        limits::check_request(offset, bytes)?;
        let node = self.node();
        let mut length = node.length();
        if offset + bytes > length {
            length = self.length().await?;
        }
        if offset >= length {
            return Ok(BlockStatus {
                flags: StatusFlags::EOF,
                bytes: 0,
                at: None,
            });
        }
        let range = offset..(offset + bytes).min(length);
        if range.is_empty() {
            return Ok(BlockStatus::unallocated(0));
        }
        let asked = pad::align(&range, self.limits().request_alignment);
        let whole = asked.end - asked.start;
        let before = range.start - asked.start;
        let said = self.said_by_driver(asked.start, before, whole, precise);
        let said = said.await?;
        let mut status = BlockStatus {
            flags: said.flags,
            bytes: said
                .bytes
                .saturating_sub(before)
                .min(range.end - range.start),
            at: said
                .at
                .map(|(node, start)| (node, start.saturating_add(before))),
        };
        if status.bytes == 0 {
            return Err(IoError::refused(
                block_common::error::errno::EIO,
                format!(
                    "Driver of node '{}' says nothing about offset {offset}",
                    node.name()
                ),
            ));
        }
        let knows = StatusFlags::DATA | StatusFlags::ZERO;
        if status.flags.intersects(knows) {
            status.flags |= StatusFlags::ALLOCATED;
        } else if !status.flags.contains(StatusFlags::ALLOCATED) {
            self.zeroes_by_default(offset, precise, &mut status).await;
        }
        if status.flags.contains(StatusFlags::RECURSE) {
            status.flags -= StatusFlags::RECURSE;
            // Only where the file's bytes are what is read.
            if precise && status.flags & knows == StatusFlags::DATA {
                self.zeroes_in_file(&mut status).await;
            }
        }
        let ends = offset + status.bytes == length;
        status.flags.set(StatusFlags::EOF, ends);
        Ok(status)
    }

    /// What the driver says of what comes `before` bytes after `offset`, or has
    /// said before. Only who stores bytes himself need not look elsewhere to
    /// know that they are data.
    ///
    /// Data that was found where the node ended once may end within a block:
    /// then nothing is known of the rest of that, which it has by now.
    async fn said_by_driver(
        self,
        offset: u64,
        before: u64,
        bytes: u64,
        precise: bool,
    ) -> Result<BlockStatus<'r>, IoError> {
        let node = self.node();
        let has_children = self.children().iter().next().is_some();
        if !precise || has_children {
            let driver = node.driver();
            return driver.block_status(self, offset, bytes, precise).await;
        }
        let look = match node.status_cache().data_from(offset + before) {
            Ok(known) => return Ok(BlockStatus::data(before + known).stored_at(node, offset)),
            Err(look) => look,
        };
        let driver = node.driver();
        let said = driver.block_status(self, offset, bytes, true).await?;
        let is_here = said
            .at
            .is_some_and(|(other, at)| other.uid() == node.uid() && at == offset);
        if is_here && said.flags - StatusFlags::ALLOCATED == StatusFlags::DATA {
            let end = offset.saturating_add(said.bytes);
            node.status_cache().fill(&look, offset..end);
        }
        Ok(said)
    }

    /// What is not allocated reads as zeroes where no backing image is. A
    /// backing image that cannot be asked tells nothing.
    async fn zeroes_by_default(self, offset: u64, precise: bool, status: &mut BlockStatus<'r>) {
        let shown = match self.backing() {
            Err(_) => 0,
            Ok(backing) if precise => backing.length().await.unwrap_or(u64::MAX),
            Ok(_) => u64::MAX,
        };
        if offset >= shown {
            status.flags |= StatusFlags::ZERO;
        }
    }

    /// What is stored in a hole of the file reads as zeroes too, and so does
    /// what is stored beyond its end. A file that cannot be asked tells
    /// nothing.
    async fn zeroes_in_file(self, status: &mut BlockStatus<'r>) {
        let Some((stored_in, start)) = status.at else {
            return;
        };
        let Ok(file) = self.file() else { return };
        if file.node().uid() != stored_in.uid() {
            return;
        }
        let asked = Box::pin(file.status_of_layer(start, status.bytes, true));
        let Ok(below) = asked.await else { return };
        let zero = below.flags & StatusFlags::ZERO;
        if below.flags.contains(StatusFlags::EOF) && (below.bytes == 0 || !zero.is_empty()) {
            status.flags |= StatusFlags::ZERO;
        } else {
            status.flags |= zero;
            status.bytes = status.bytes.min(below.bytes);
        }
    }
}
