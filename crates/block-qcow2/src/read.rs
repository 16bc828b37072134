//! Reading.

use block_common::error::errno;
use block_io::aio::run_blocking;
use block_io::{Buffer, Destination, IoError, IoFuture, Request};

use crate::codec;
use crate::format::entry::{CompressedRange, Kind};
use crate::grace::Inside;
use crate::image::Image;
use crate::map::Plain;
use crate::steps::{is_heard, step};

/// What is below.
#[inline]
fn below<'r>(request: Request<'r>, offset: u64, mut into: Destination<'r>) -> IoFuture<'r> {
    if let Ok(backing) = request.backing() {
        return backing.read(offset, into);
    }
    into.fill(0);
    IoFuture::done()
}

/// The outcome of `transfer`, while `inside` is counted.
#[inline]
pub(crate) fn inside<'r>(inside: Inside<'r>, transfer: IoFuture<'r>) -> IoFuture<'r> {
    if transfer.is_ready() {
        drop(inside);
        return transfer;
    }
    IoFuture::new(async move {
        let outcome = transfer.await;
        drop(inside);
        outcome
    })
}

impl Image {
    /// Fills `into` with what the guest sees from `offset` on.
    pub fn read<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        into: Destination<'r>,
    ) -> IoFuture<'r> {
        let bytes = into.len() as u64;
        let here = self.grace.enter();
        match self.plain(request, offset, bytes) {
            Some(Plain::Data(host, _)) => {
                if let Ok(data) = request.file()
                    && !data.hears_events()
                {
                    return inside(here, data.read(host, into));
                }
            }
            Some(Plain::Unallocated) if !is_heard(request) => {
                drop(here);
                return below(request, offset, into);
            }
            Some(Plain::Unallocated) | None => {}
        }
        self.read_with_care(request, offset, into, here)
    }

    /// As [`read`](Image::read), for what is not so plain.
    #[cold]
    fn read_with_care<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        mut into: Destination<'r>,
        here: Inside<'r>,
    ) -> IoFuture<'r> {
        let bytes = into.len() as u64;
        if let Some(run) = self.lookup(request, offset, bytes)
            && run.bytes == bytes
            && !is_heard(request)
        {
            match run.kind {
                Kind::Data => {
                    if let Ok(data) = self.data(request) {
                        return inside(here, data.read(run.host, into));
                    }
                }
                Kind::Zero | Kind::ZeroStored => {
                    into.fill(0);
                    return IoFuture::done();
                }
                Kind::Unallocated | Kind::UnallocatedStored => {
                    drop(here);
                    return below(request, offset, into);
                }
                Kind::Compressed | Kind::Invalid => {}
            }
        }
        IoFuture::new(async move {
            let _here = here;
            self.read_runs(request, offset, into).await
        })
    }

    /// As [`read_runs`](Image::read_runs), for what no backing image shows.
    pub async fn read_here(
        &self,
        request: Request<'_>,
        mut offset: u64,
        mut into: Destination<'_>,
    ) -> Result<(), IoError> {
        while !into.is_empty() {
            let run = self.map(request, offset, into.len() as u64).await?;
            let (mut piece, rest) = into.split_at(run.bytes as usize);
            match run.kind.is_unallocated() {
                true => piece.fill(0),
                false => self.read_runs(request, offset, piece).await?,
            }
            offset += run.bytes;
            into = rest;
        }
        Ok(())
    }

    /// As [`read`](Image::read), run by run.
    pub async fn read_runs(
        &self,
        request: Request<'_>,
        mut offset: u64,
        mut into: Destination<'_>,
    ) -> Result<(), IoError> {
        while !into.is_empty() {
            let run = self.map(request, offset, into.len() as u64).await?;
            let (mut piece, rest) = into.split_at(run.bytes as usize);
            match run.kind {
                Kind::Data => {
                    step(request, "read_aio").await;
                    self.data(request)?.read(run.host, piece).await?;
                }
                Kind::Compressed => {
                    self.read_compressed(request, offset, run.host, piece)
                        .await?;
                }
                kind if kind.is_unallocated() => match request.backing() {
                    Ok(backing) => {
                        step(request, "read_backing_aio").await;
                        backing.read(offset, piece).await?;
                    }
                    Err(_) => piece.fill(0),
                },
                _ => piece.fill(0),
            }
            offset += run.bytes;
            into = rest;
        }
        Ok(())
    }

    /// A part of a compressed cluster.
    async fn read_compressed(
        &self,
        request: Request<'_>,
        offset: u64,
        word: u64,
        mut into: Destination<'_>,
    ) -> Result<(), IoError> {
        let range = CompressedRange::of(word, self.geometry.cluster_bits);
        let length = self.geometry.cluster_size() as usize;
        let mut packed = Buffer::zeroed(range.bytes as usize);
        step(request, "read_compressed").await;
        request
            .file()?
            .read(range.start, packed.destination())
            .await?;
        let compression = self.lock().header.compression;
        let unpacked =
            run_blocking(move || codec::unpack(compression, packed.as_slice(), length)).await;
        let unpacked = unpacked.ok_or_else(|| IoError::from_errno(errno::EIO))?;
        let skip = self.geometry.in_cluster(offset) as usize;
        into.copy_from_slice(&unpacked[skip..skip + into.len()]);
        Ok(())
    }
}
