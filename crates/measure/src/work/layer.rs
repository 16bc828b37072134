//! Requests through this block layer, in its main loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use block_gs::{Backend, BlockLayer, BqlGuard, Perm};
use block_io::{Buffer, IoError, Root};
use block_open::{OpenError, Options};

use super::{Offsets, Requests};
use crate::error::Failure;

/// Opens what the target describes, and sends the requests.
pub fn run(requests: &Requests) -> Result<Duration, Failure> {
    let layer = BlockLayer::new()?;
    layer.enter(|bql| {
        let disk = open(bql, requests)?;
        let length = bql.block_on(disk.root().length())?;
        let work = Arc::new(Shared {
            root: disk.root().clone(),
            offsets: requests.offsets(length)?,
            requests: requests.clone(),
            sent: AtomicU64::new(0),
        });
        let buffers = (0..requests.depth).map(|_| Buffer::with_alignment(requests.size, 4096));
        let buffers: Vec<Buffer> = buffers.collect();
        let start = Instant::now();
        let tasks = buffers.into_iter().map(|buffer| {
            let work = Arc::clone(&work);
            disk.root().spawn(async move { work.lane(buffer).await })
        });
        let tasks: Vec<_> = tasks.collect();
        bql.block_on(async {
            for task in tasks {
                task.await?;
            }
            Ok::<_, IoError>(())
        })?;
        Ok(start.elapsed())
    })
}

fn open(bql: &mut BqlGuard, requests: &Requests) -> Result<Backend, Failure> {
    let mut perm = Perm::CONSISTENT_READ;
    perm.set(Perm::WRITE, requests.write);
    let mut options = Options::parse(&requests.target).map_err(OpenError::from)?;
    options.set_default("read-only", !requests.write);
    options.set_default("cache.direct", requests.direct);
    let node = block_open::open(bql, options)?;
    let disk = Backend::new(bql, "disk", perm, Perm::all())?;
    disk.insert(bql, &node)?;
    Ok(disk)
}

struct Shared {
    root: Root,
    offsets: Offsets,
    requests: Requests,
    sent: AtomicU64,
}

impl Shared {
    /// What begins at `offset`.
    async fn look(&self, offset: u64, bytes: u64) -> Result<(), IoError> {
        let in_flight = self.root.begin().await;
        let status = in_flight.request()?.block_status(offset, bytes, true);
        std::hint::black_box(status.await?.flags);
        Ok(())
    }

    /// One request after the other, until all have been sent.
    async fn lane(&self, mut buffer: Buffer) -> Result<(), IoError> {
        loop {
            let number = self.sent.fetch_add(1, Ordering::Relaxed);
            if number >= self.requests.count {
                return Ok(());
            }
            let offset = self.offsets.at(number);
            if self.requests.holes {
                self.look(offset, buffer.len() as u64).await?;
                continue;
            }
            match self.requests.write {
                false => self.root.read(offset, buffer.destination()).await?,
                true => self.root.write(offset, buffer.source()).await?,
            }
        }
    }
}
