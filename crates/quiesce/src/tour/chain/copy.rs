//! Moving contents between images.

use block_gs::{BqlGuard, IoError, Node};
use block_io::{Activity, Buffer, IoNode, Request};

use crate::tour::image::Region;

/// How much is moved by one request, in bytes.
const CHUNK: u64 = 1 << 20;

/// Writes the contents that a region has in the beginning.
pub fn fill(bql: &mut BqlGuard, to: &Node, region: &Region) -> Result<(), IoError> {
    let mut buffer = Buffer::zeroed(CHUNK as usize);
    for (at, bytes) in chunks(region.length) {
        region
            .pattern
            .fill(at, &mut buffer.as_mut_slice()[..bytes], |_| 0);
        write(bql, to, at, &buffer, bytes)?;
    }
    Ok(())
}

/// Copies what is read at `from`, its backing images included, while others
/// read there. Nobody writes to it.
pub fn all(bql: &mut BqlGuard, from: &Node, to: &Node, length: u64) -> Result<(), IoError> {
    let mut buffer = Buffer::zeroed(CHUNK as usize);
    for (at, bytes) in chunks(length) {
        let from = from.io().clone();
        bql.block_on(async {
            let activity = Activity::begin(from).await;
            let (into, _) = buffer.destination().split_at(bytes);
            activity.request().read(at, into).await
        })?;
        write(bql, to, at, &buffer, bytes)?;
    }
    Ok(())
}

fn write(
    bql: &mut BqlGuard,
    to: &Node,
    at: u64,
    buffer: &Buffer,
    bytes: usize,
) -> Result<(), IoError> {
    to.drain(bql).io(async |request: Request<'_>| {
        let (from, _) = buffer.source().split_at(bytes);
        request.write(at, from).await
    })
}

/// Makes a node have what the images between it and `base` have; with `None`,
/// what all below have. Returns how many bytes these were.
///
/// What is written meanwhile is not lost: the node
/// [tracks overlaps](block_gs::Drained::track_overlaps).
pub async fn pull(
    request: Request<'_>,
    base: Option<&IoNode>,
    length: u64,
) -> Result<u64, IoError> {
    let (mut at, mut moved) = (0, 0);
    while at < length {
        let (depth, bytes) = request.is_allocated_above(base, at, length - at).await?;
        let bytes = bytes.clamp(1, CHUNK);
        if depth.is_some_and(|depth| depth > 1) {
            request.populate(at, bytes).await?;
            moved += bytes;
        }
        at += bytes;
    }
    Ok(moved)
}

fn chunks(length: u64) -> impl Iterator<Item = (u64, usize)> {
    let starts = (0..length).step_by(CHUNK as usize);
    starts.map(move |at| (at, CHUNK.min(length - at) as usize))
}
