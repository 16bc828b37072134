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
    ) -> IoFuture<'r, BlockStatus<'r>> {
        IoFuture::new(async move { self.status(request, offset, bytes).await })
    }

    async fn status<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        bytes: u64,
    ) -> Result<BlockStatus<'r>, IoError> {
        let run = self.map(request, offset, bytes).await?;
        let flags = match run.kind {
            Kind::Data => StatusFlags::DATA,
            Kind::Compressed => StatusFlags::DATA | StatusFlags::COMPRESSED,
            Kind::Zero | Kind::ZeroStored => StatusFlags::ZERO,
            _ => StatusFlags::empty(),
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
}
