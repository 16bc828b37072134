//! Writing compressed clusters.

use block_common::error::errno;
use block_io::aio::run_blocking;
use block_io::{Buffer, IoError, Request, Source};

use crate::codec;
use crate::format::entry::{CompressedRange, Entry};
use crate::image::Image;
use crate::options::not_for;
use crate::refs::Claim;
use crate::steps::step;

impl Image {
    /// Writes whole clusters, each packed if it gets shorter. The last one of
    /// the image may be cut off by its end. Writes that are under way at the
    /// same time are packed at the same time, and stored in the order in which
    /// they came.
    ///
    /// # Errors
    /// `EINVAL` for parts of clusters; `ENOTSUP` for an image with a data
    /// file.
    pub async fn write_compressed(
        &self,
        request: Request<'_>,
        mut offset: u64,
        mut from: Source<'_>,
    ) -> Result<(), IoError> {
        self.get_ready(request).await?;
        let _here = self.grace.enter();
        if !self.geometry.keeps_data {
            return Err(not_for(
                "Compressed writes need an image without a data file",
            ));
        }
        let size = self.geometry.cluster_size();
        if self.geometry.in_cluster(offset) != 0 {
            return Err(IoError::from_errno(errno::EINVAL));
        }
        while !from.is_empty() {
            let bytes = (from.len() as u64).min(size);
            if bytes < size && offset + bytes != self.size() {
                return Err(IoError::from_errno(errno::EINVAL));
            }
            let (piece, rest) = from.split_at(bytes as usize);
            let mut data = vec![0; size as usize];
            piece.copy_to_slice(&mut data[..bytes as usize]);
            let compression = self.lock().header.compression;
            let in_order = self.packing.enter(0..1, true);
            let packed = run_blocking(move || codec::pack(compression, &data)).await;
            let _turn = in_order.await;
            match packed {
                Some(packed) => self.write_packed(request, offset, packed).await?,
                None => self.write_runs(request, offset, piece).await?,
            }
            offset += bytes;
            from = rest;
        }
        Ok(())
    }

    async fn write_packed(
        &self,
        request: Request<'_>,
        offset: u64,
        packed: Vec<u8>,
    ) -> Result<(), IoError> {
        let cluster_bits = self.geometry.cluster_bits;
        let end = offset + self.geometry.cluster_size();
        let _turn = self.turns.enter(offset..end, true).await;
        self.own_table(request, self.geometry.l1_index(offset))
            .await?;
        let bytes = packed.len() as u64;
        step(request, "cluster_alloc_bytes").await;
        let start = self
            .with_refs(request, |refs| refs.claim_bytes(bytes))
            .await?;
        let cluster = start >> cluster_bits;
        let claim = Claim {
            clusters: cluster..cluster + 1,
            is_fresh: false,
        };
        self.check_claim(request, &claim, Some("compressed cluster"))
            .await?;
        let claimed = ClaimedBytes {
            image: self,
            cluster: Some(start >> cluster_bits),
        };
        let range = CompressedRange { start, bytes };
        let Some(word) = range.entry(cluster_bits) else {
            return Err(IoError::from_errno(errno::ENOSPC));
        };
        let buffer = Buffer::from(&*packed);
        self.check_overlap(request, range.start, range.bytes)
            .await?;
        step(request, "l2_update_compressed").await;
        step(request, "write_compressed").await;
        request.file()?.write(range.start, buffer.source()).await?;
        self.change_entries(request, offset, 1, |_, old, state| {
            self.free_entry(old, state, false);
            Entry { word, bitmap: 0 }
        })
        .await?;
        claimed.keep();
        Ok(())
    }
}

/// A use of a cluster by compressed data that nothing refers to yet; given back
/// when dropped.
struct ClaimedBytes<'i> {
    image: &'i Image,
    cluster: Option<u64>,
}

impl ClaimedBytes<'_> {
    fn keep(mut self) {
        self.cluster = None;
    }
}

impl Drop for ClaimedBytes<'_> {
    fn drop(&mut self) {
        if let Some(cluster) = self.cluster {
            self.image.lock().unused.push(cluster..cluster + 1);
        }
    }
}
