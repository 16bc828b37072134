//! Reading what is then kept.

use std::ops::Range;

use block_common::error::errno;
use block_common::{IoError, StatusFlags, WriteFlags, limits};

use super::{MAX_BOUNCE, pad};
use crate::node::NodeFlags;
use crate::{Buffer, Destination, IoFuture, Request};

impl<'r> Request<'r> {
    /// As [`read`](Request::read), and makes the node have what it read from
    /// its backing image (`BDRV_REQ_COPY_ON_READ`). What a guest sees does not
    /// change, so [`Perm::WRITE_UNCHANGED`](crate::Perm) suffices. The node
    /// must track overlaps: a write between reading the backing image and
    /// writing it here would be lost.
    ///
    /// # Errors
    /// As [`read`](Request::read) and [`write`](Request::write): also when
    /// only keeping the data fails.
    pub fn read_and_keep(self, offset: u64, into: Destination<'r>) -> IoFuture<'r> {
        let bytes = into.len() as u64;
        if let Err(error) = limits::check_data_request(offset, bytes) {
            return IoFuture::failed(error);
        }
        IoFuture::new(async move { self.keep_range(offset, bytes, Some(into)).await })
    }

    /// Makes the node have `bytes` bytes from `offset` on, which it may have
    /// to take from its backing image (`BDRV_REQ_PREFETCH`).
    ///
    /// # Errors
    /// As [`read_and_keep`](Request::read_and_keep).
    pub fn populate(self, offset: u64, bytes: u64) -> IoFuture<'r> {
        if let Err(error) = limits::check_request(offset, bytes) {
            return IoFuture::failed(error);
        }
        IoFuture::new(async move { self.keep_range(offset, bytes, None).await })
    }

    async fn keep_range(
        self,
        offset: u64,
        bytes: u64,
        mut into: Option<Destination<'_>>,
    ) -> Result<(), IoError> {
        let node = self.node();
        if node.flags().contains(NodeFlags::INACTIVE) {
            // Another process owns the image: nothing may be kept.
            return match into {
                Some(into) => self.read(offset, into).await,
                None => Ok(()),
            };
        }
        self.check_writable(WriteFlags::UNCHANGED)?;
        if !node.flags().contains(NodeFlags::TRACKED) {
            return Err(IoError::refused(
                errno::EINVAL,
                format!("Node '{}' does not track overlapping requests", node.name()),
            ));
        }
        let clusters = pad::align(&(offset..offset + bytes), self.cluster());
        let _entered = node.overlaps().enter(clusters.clone(), true).await;
        // Whoever we waited for may have changed it.
        let length = self.length().await?;
        let end = (offset + bytes).min(length);
        if let Some(into) = &mut into
            && end < offset + bytes
        {
            let inside = end.saturating_sub(offset) as usize;
            into.reborrow().split_at(inside).1.fill(0);
        }
        if end <= offset {
            return Ok(());
        }
        let mut at = clusters.start;
        while at < end {
            let left = clusters.end.min(length) - at;
            let status = self.status_of_layer(at, left, false).await?;
            if status.bytes == 0 {
                // It ends before, and nobody has told the layer.
                if let Some(into) = &mut into {
                    let from = at.saturating_sub(offset) as usize;
                    into.reborrow().split_at(from).1.fill(0);
                }
                return Ok(());
            }
            let kept = status.flags.contains(StatusFlags::ALLOCATED);
            let piece = at..at + self.piece(at, status.bytes, left, kept);
            let wanted = offset.max(piece.start)..end.min(piece.end);
            let target = match &mut into {
                Some(into) if wanted.start < wanted.end => {
                    let (_, from) = into.reborrow().split_at((wanted.start - offset) as usize);
                    let bytes = (wanted.end - wanted.start) as usize;
                    Some((wanted, from.split_at(bytes).0))
                }
                _ => None,
            };
            at = piece.end;
            match (kept, target) {
                (true, None) => {}
                (true, Some((wanted, target))) => {
                    self.read_padded(wanted.start, target).await?;
                }
                (false, target) => self.keep_piece(piece, target).await?,
            }
        }
        Ok(())
    }

    /// What the node allocates at once.
    fn cluster(self) -> u32 {
        let limits = self.limits();
        limits.cluster_size.max(limits.request_alignment)
    }

    /// How much is dealt with in one step. What is kept already is that much and
    /// no more: the rest of a divided cluster may not be. Otherwise whole
    /// clusters, unless the node ends before.
    fn piece(self, at: u64, known: u64, left: u64, kept: bool) -> u64 {
        if kept {
            return known.min(left);
        }
        let cluster = u64::from(self.cluster());
        let end = at + known.min(MAX_BOUNCE.max(cluster));
        let whole = end & !(cluster - 1);
        if whole > at {
            whole - at
        } else {
            cluster - at % cluster
        }
        .min(left)
    }

    /// Takes what the backing image has, and writes it here.
    async fn keep_piece(
        self,
        piece: Range<u64>,
        target: Option<(Range<u64>, Destination<'_>)>,
    ) -> Result<(), IoError> {
        let node = self.node();
        let blocks = pad::align(&piece, self.limits().request_alignment);
        let mut bounce = Buffer::zeroed((blocks.end - blocks.start) as usize);
        self.read_pieces(blocks.start, bounce.destination()).await?;
        self.report("cor_write").await;
        if node.capabilities().zero_flags.is_some() && bounce.source().is_zero() {
            self.zero_blocks(blocks.clone(), WriteFlags::UNCHANGED)
                .await?;
        } else {
            let flags = node.capabilities().write_flags & WriteFlags::UNCHANGED;
            self.write_pieces(blocks.start, bounce.source(), flags)
                .await?;
        }
        if let Some((wanted, mut target)) = target {
            let skipped = (wanted.start - blocks.start) as usize;
            let (from, _) = bounce.source().split_at(skipped).1.split_at(target.len());
            target.copy_from(from);
        }
        Ok(())
    }
}
