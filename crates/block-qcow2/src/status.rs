//! What is known about a range.

use block_io::{BlockStatus, IoError, IoFuture, Request, StatusFlags};

use crate::format::entry::Kind;
use crate::image::Image;

impl Image {
    /// What is known about the beginning of `bytes` bytes from `offset` on.
    pub fn block_status<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        bytes: u64,
        precise: bool,
    ) -> IoFuture<'r, BlockStatus<'r>> {
        IoFuture::new(async move { self.status(request, offset, bytes, precise).await })
    }

    async fn status<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        bytes: u64,
        precise: bool,
    ) -> Result<BlockStatus<'r>, IoError> {
        let run = self.map(request, offset, bytes).await?;
        let flags = match run.kind {
            Kind::Data => StatusFlags::DATA,
            Kind::Compressed => StatusFlags::DATA | StatusFlags::COMPRESSED,
            Kind::Zero | Kind::ZeroStored => StatusFlags::ZERO,
            _ => StatusFlags::empty(),
        };
        let recurse = run.kind == Kind::Data && precise && self.is_preallocated(request).await;
        let flags = match recurse {
            true => flags | StatusFlags::RECURSE,
            false => flags,
        };
        let status = BlockStatus {
            flags,
            bytes: run.bytes,
            at: None,
        };
        match run.kind.is_stored() {
            true => Ok(status.stored_at(self.data(request)?.node(), run.host)),
            false => Ok(status),
        }
    }

    /// Whether more clusters are counted than the file has: then much of what
    /// is data here is a hole there (`qcow2_detect_metadata_preallocation`).
    /// A cluster that was written in part is there. Found out once, as long as
    /// nobody else has the image.
    async fn is_preallocated(&self, request: Request<'_>) -> bool {
        let known = *self.preallocated.lock();
        if let Some(known) = known {
            return known;
        }
        let found = self.find_preallocation(request).await.unwrap_or(false);
        *self.preallocated.lock().get_or_insert(found)
    }

    async fn find_preallocation(&self, request: Request<'_>) -> Result<bool, IoError> {
        let file = request.file()?;
        let length = self.geometry.clusters_of(file.length().await?);
        let taken = self.geometry.clusters_of(file.allocated_size().await?);
        if taken >= length {
            return Ok(false);
        }
        let cutoff = (taken + taken / 9).max(taken + 2);
        let mut counted = 0;
        let mut cluster = 0;
        while cluster < length && counted < cutoff {
            let (end, count) = self
                .with_refs(request, |refs| refs.same(cluster..length))
                .await?;
            counted += if count > 0 { end - cluster } else { 0 };
            cluster = end;
        }
        if counted < cutoff {
            return Ok(false);
        }
        let there = self.clusters_in(file, length).await?;
        Ok(counted >= (there + there / 9).max(there + 2))
    }

    /// How many of the first `clusters` clusters of the file are not holes as
    /// a whole.
    async fn clusters_in(&self, file: Request<'_>, clusters: u64) -> Result<u64, IoError> {
        let bits = self.geometry.cluster_bits;
        let end = file.length().await?.min(clusters << bits);
        let (mut at, mut counted, mut there) = (0, 0, 0);
        while at < end {
            let status = file.block_status(at, end - at, true).await?;
            let next = at + status.bytes.max(1);
            if status.flags.contains(StatusFlags::DATA) && !status.flags.contains(StatusFlags::ZERO)
            {
                let (first, last) = ((at >> bits).max(counted), (next - 1) >> bits);
                there += (last + 1).saturating_sub(first);
                counted = counted.max(last + 1);
            }
            at = next;
        }
        Ok(there)
    }
}
