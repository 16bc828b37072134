//! Reading.

use block_common::{IoError, limits};

use super::pad::{self, Padding, longest_bounce, longest_piece};
use crate::after::After;
use crate::{Buffer, Destination, DestinationVec, IoFuture, Request};

impl<'r> Request<'r> {
    /// Reads `into.len()` bytes at `offset` (`bdrv_co_preadv`). What lies
    /// beyond the end of the node reads as zeroes.
    ///
    /// # Errors
    /// [`IoError::OutOfRange`] for an impossible offset or length, otherwise
    /// the driver's; parts may have been read then.
    pub fn read(self, offset: u64, into: Destination<'r>) -> IoFuture<'r> {
        let node = self.node();
        let bytes = into.len() as u64;
        let bounds = self.limits();
        let unaligned = (offset | bytes) & u64::from(bounds.request_alignment - 1);
        // The length is below the greatest offset, so this looks at that too.
        let inside = bytes.wrapping_sub(1) < bounds.max_transfer
            && offset
                .checked_add(bytes)
                .is_some_and(|end| end <= node.length());
        if inside
            && unaligned == 0
            && node.has_plain_reads()
            && into.segment_count() <= bounds.max_segments
        {
            return node.driver().read(self, offset, into);
        }
        self.read_with_care(offset, into)
    }

    #[cold]
    fn read_with_care(self, offset: u64, into: Destination<'r>) -> IoFuture<'r> {
        if let Err(error) = limits::check_data_request(offset, into.len() as u64) {
            return IoFuture::failed(error);
        }
        if into.is_empty() {
            return IoFuture::done();
        }
        let range = offset..offset + into.len() as u64;
        let aligned = pad::align(&range, self.limits().request_alignment);
        let plain = self.node().has_plain_reads();
        let direct = aligned == range
            && range.end <= self.node().length()
            && range.end - range.start <= self.limits().max_transfer
            && into.segment_count() <= self.limits().max_segments;
        if direct && !plain {
            // On a node with direct I/O this is the common case: no need to
            // wait, and one box at most.
            if let Some(entered) = self.node().overlaps().try_enter(aligned.clone(), false) {
                let running = self.node().driver().read(self, offset, into);
                return running.then(After::read(entered));
            }
        }
        IoFuture::new(async move {
            let _entered = match plain {
                true => None,
                false => Some(self.node().overlaps().enter(aligned, false).await),
            };
            self.read_inside(offset, into).await
        })
    }

    /// Reads what lies within the node, and sets the rest to zero.
    async fn read_inside(self, offset: u64, mut into: Destination<'_>) -> Result<(), IoError> {
        let end = offset + into.len() as u64;
        let mut length = self.node().length();
        if end > length {
            length = self.length().await?;
        }
        let inside = length.saturating_sub(offset).min(into.len() as u64);
        let (into, mut beyond) = into.reborrow().split_at(inside as usize);
        beyond.fill(0);
        if into.is_empty() {
            return Ok(());
        }
        self.read_padded(offset, into).await
    }

    /// Reads what lies within the node, padded to whole blocks.
    pub(super) async fn read_padded(
        self,
        offset: u64,
        into: Destination<'_>,
    ) -> Result<(), IoError> {
        let range = offset..offset + into.len() as u64;
        let Some(padding) = Padding::of(&range, self.limits().request_alignment) else {
            return self.read_pieces(offset, into).await;
        };
        let (mut before, mut after) = padding.scratch();
        let mut whole = DestinationVec::new();
        whole.push(before.destination());
        whole.push(into);
        whole.push(after.destination());
        self.read_pieces(padding.aligned().start, whole.destination())
            .await
    }

    /// An aligned read, cut into what the driver takes.
    pub(super) async fn read_pieces(
        self,
        mut offset: u64,
        mut into: Destination<'_>,
    ) -> Result<(), IoError> {
        let bounds = self.limits();
        while !into.is_empty() {
            let mut bytes = longest_piece(bounds, into.len());
            let too_scattered = into.segment_count() > bounds.max_segments;
            if too_scattered {
                bytes = bytes.min(longest_bounce(bounds));
            }
            let (mut piece, rest) = into.split_at(bytes);
            if piece.segment_count() > bounds.max_segments {
                let mut bounce = Buffer::zeroed(bytes);
                let driver = self.node().driver();
                driver.read(self, offset, bounce.destination()).await?;
                piece.copy_from(bounce.source());
            } else {
                self.node().driver().read(self, offset, piece).await?;
            }
            offset += bytes as u64;
            into = rest;
        }
        Ok(())
    }
}
