//! Writing zeroes without sending any.

use std::ops::Range;

use block_common::error::errno;
use block_common::{IoError, WriteFlags, limits};

use super::pad::{self, Padding, longest_bounce, next_piece};
use crate::after::After;
use crate::{Buffer, IoFuture, Request};

impl<'r> Request<'r> {
    /// Makes `bytes` bytes from `offset` on read as zeroes
    /// (`bdrv_co_pwrite_zeroes`), by the driver if it can, else by writing
    /// them.
    ///
    /// # Errors
    /// As [`write`](Request::write). With [`WriteFlags::NO_FALLBACK`]:
    /// [`IoError::NotSupported`] when zeroes would have to be written.
    pub fn write_zeroes(self, offset: u64, bytes: u64, flags: WriteFlags) -> IoFuture<'r> {
        let checked =
            limits::check_request(offset, bytes).and_then(|()| self.check_writable(flags));
        if let Err(error) = checked {
            return IoFuture::failed(error);
        }
        if bytes == 0 {
            return IoFuture::done();
        }
        let mut flags = flags;
        if !self.may_unmap() {
            flags -= WriteFlags::MAY_UNMAP;
        }
        let range = offset..offset + bytes;
        let bounds = self.limits();
        let native = self.node().capabilities().zero_flags;
        if flags.is_empty()
            && native.is_some()
            && pad::align(&range, bounds.request_alignment.max(bounds.zero_alignment)) == range
            && bytes <= bounds.max_zeroes
            && range.end <= self.node().length()
            && self.node().has_plain_writes()
        {
            let running = self
                .node()
                .driver()
                .write_zeroes(self, offset, bytes, flags);
            return match running.into_ready() {
                Ok(Err(error)) if error.errno() == errno::ENOTSUP => {
                    IoFuture::new(async move { self.zero_range(range, flags).await })
                }
                Ok(outcome) => {
                    IoFuture::ready(outcome).then(After::void(self.node(), range, false))
                }
                Err(running) => IoFuture::new(async move {
                    let after = After::void(self.node(), range.clone(), false);
                    let outcome = running.await;
                    drop(after);
                    match outcome {
                        Err(error) if error.errno() == errno::ENOTSUP => {
                            self.zero_range(range, flags).await
                        }
                        outcome => outcome,
                    }
                }),
            };
        }
        IoFuture::new(async move { self.zero_range(range, flags).await })
    }

    /// The whole of it: edges that are not aligned are read and written back,
    /// what lies between is left to the driver.
    pub(super) async fn zero_range(
        self,
        range: Range<u64>,
        flags: WriteFlags,
    ) -> Result<(), IoError> {
        let alignment = self.limits().request_alignment;
        let blocks = pad::align(&range, alignment);
        let padded = blocks != range;
        if padded && flags.contains(WriteFlags::NO_FALLBACK) {
            return Err(IoError::NotSupported);
        }
        let mut flags = self.without_idle_fua(flags);
        if !self.may_unmap() {
            flags -= WriteFlags::MAY_UNMAP;
        }
        let _entered = self.enter_write(&range, &blocks, flags, padded).await?;
        let block = u64::from(alignment);
        let mut middle = range.clone();
        if !range.start.is_multiple_of(block) {
            let end = (blocks.start + block).min(range.end);
            self.zero_within_block(range.start..end, flags).await?;
            middle.start = end;
        }
        if middle.start < middle.end {
            let tail = middle.end & !(block - 1);
            if middle.start < tail {
                self.report("pwritev_zero").await;
                let zeroed = self.zero_blocks(middle.start..tail, flags).await;
                self.report("pwritev_done").await;
                zeroed?;
            }
            if tail < middle.end {
                self.zero_within_block(tail..middle.end, flags).await?;
            }
        }
        // Once for all parts: they need not be durable one by one.
        match flags.contains(WriteFlags::FUA) {
            true => self.flush().await,
            false => Ok(()),
        }
    }

    /// A part of one block.
    async fn zero_within_block(self, range: Range<u64>, flags: WriteFlags) -> Result<(), IoError> {
        let alignment = self.limits().request_alignment;
        let zeroes = Buffer::zeroed((range.end - range.start) as usize);
        let padding = Padding::of(&range, alignment).expect("a part of a block is not aligned");
        let start = padding.aligned().start;
        let ends = padding.read_ends(self).await?;
        let whole = ends.around(zeroes.source());
        let flags = self.in_data_writes(flags);
        self.report("pwritev").await;
        let written = self.write_pieces(start, whole.source(), flags).await;
        self.report("pwritev_done").await;
        written
    }

    /// What of the flags a write of data from a buffer has too.
    fn in_data_writes(self, flags: WriteFlags) -> WriteFlags {
        flags & self.node().capabilities().write_flags & WriteFlags::UNCHANGED
    }

    /// Whole blocks (`bdrv_co_do_pwrite_zeroes`): in pieces that begin and end
    /// where the driver can do zeroes best.
    pub(super) async fn zero_blocks(
        self,
        range: Range<u64>,
        flags: WriteFlags,
    ) -> Result<(), IoError> {
        let node = self.node();
        let bounds = self.limits();
        let alignment = u64::from(bounds.zero_alignment.max(bounds.request_alignment));
        let native = node.capabilities().zero_flags;
        let mut offset = range.start;
        while offset < range.end {
            let bytes = next_piece(&(offset..range.end), alignment, bounds.max_zeroes);
            let after = After::void(node, offset..offset + bytes, true);
            let done = match native {
                Some(supported) => {
                    let flags = flags & (supported - WriteFlags::FUA);
                    node.driver().write_zeroes(self, offset, bytes, flags).await
                }
                None => Err(IoError::NotSupported),
            };
            match done {
                Err(error)
                    if error.errno() == errno::ENOTSUP
                        && !flags.contains(WriteFlags::NO_FALLBACK) =>
                {
                    drop(after);
                    self.write_zero_bytes(offset, bytes, flags).await?;
                }
                outcome => {
                    after.run(outcome.is_ok());
                    outcome?;
                }
            }
            offset += bytes;
        }
        Ok(())
    }

    /// Zeroes from a buffer.
    async fn write_zero_bytes(
        self,
        mut offset: u64,
        mut bytes: u64,
        flags: WriteFlags,
    ) -> Result<(), IoError> {
        let flags = self.in_data_writes(flags);
        let most = longest_bounce(self.limits()) as u64;
        let zeroes = Buffer::zeroed(bytes.min(most) as usize);
        while bytes > 0 {
            let piece = bytes.min(most);
            let (from, _) = zeroes.source().split_at(piece as usize);
            self.write_pieces(offset, from, flags).await?;
            offset += piece;
            bytes -= piece;
        }
        Ok(())
    }
}
