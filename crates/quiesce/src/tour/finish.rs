//! The last check: everything, through the block layer and without it.

use std::sync::Arc;

use block_gs::BqlGuard;
use block_io::Buffer;

use super::chain::Checked;
use super::chain::finish::Closed;
use super::failure::Failure;
use super::graph::{Below, Disk, World};
use super::image::{self, UserImage};
use super::load::{Contents, Lane, check_piece};
use super::pattern::Mismatch;
use super::watch::Watch;

/// How much one read takes, in bytes.
const CHUNK: u64 = 256 << 10;

/// Reads every disk from beginning to end through its backend and compares it
/// with what its tasks have written. Returns how many bytes were right.
pub fn check_disks(
    bql: &mut BqlGuard,
    world: &World,
    lanes: &[Vec<Lane>],
    watch: &Arc<Watch>,
) -> u64 {
    let mut right = 0;
    let mut buffer = Buffer::zeroed(CHUNK as usize);
    for ((_, disk), lanes) in world.disks().zip(lanes) {
        for (at, bytes) in chunks(disk) {
            watch.run.beat();
            let (into, _) = buffer.destination().split_at(bytes);
            let outcome = bql.block_on(disk.target.root.read(at, into));
            let place = || format!("'{}', read in the end", disk.backend.name());
            let step = watch.run.journal.step();
            if let Err(error) = outcome {
                let (what, error) = (place(), error.into());
                watch.fail(Failure::Graph { step, what, error });
                return right;
            }
            if let Err(mismatch) = check(disk, lanes, at, &buffer.as_slice()[..bytes]) {
                let place = place();
                watch.fail(Failure::WrongByte {
                    place,
                    mismatch,
                    step,
                });
                return right;
            }
            right += bytes as u64;
        }
    }
    right
}

fn chunks(disk: &Disk) -> Vec<(u64, usize)> {
    match (&disk.region, &disk.target.contents) {
        (Some(region), _) => (0..region.length)
            .step_by(CHUNK as usize)
            .map(|at| (at, CHUNK.min(region.length - at) as usize))
            .collect(),
        (None, Contents::Image { pieces, .. }) => {
            let piece = |(at, bytes): &(u64, Vec<u8>)| (*at, bytes.len());
            pieces.iter().map(piece).collect()
        }
        (None, Contents::Pattern { .. }) => Vec::new(),
    }
}

fn check(disk: &Disk, lanes: &[Lane], at: u64, bytes: &[u8]) -> Result<(), Mismatch> {
    match (&disk.region, &disk.target.contents) {
        (Some(region), _) => image::check_region(region, lanes, at, bytes),
        (None, Contents::Image { pieces, .. }) => check_piece(pieces, at, bytes),
        (None, Contents::Pattern { .. }) => Ok(()),
    }
}

/// Compares the files at the bottom, now that the block layer has closed
/// them, with what the tasks have written. Returns what was looked at, and how
/// many bytes were right.
pub fn check_files(
    world: &World,
    lanes: &[Vec<Lane>],
    user: Option<&UserImage>,
    watch: &Arc<Watch>,
) -> Checked {
    let mut checked = Checked::default();
    for ((group, disk), lanes) in world.disks().zip(lanes) {
        watch.run.beat();
        let files = match &group.below {
            Below::Files(files) => files,
            Below::Chain(chain) => {
                if let Some(region) = &disk.region {
                    let closed = Closed {
                        chain,
                        region,
                        lanes,
                        watch,
                    };
                    closed.look(&mut checked);
                }
                continue;
            }
        };
        let path = &files.paths[files.current];
        let (outcome, bytes) = match (&disk.region, user) {
            (Some(region), _) => (image::check(path, region, lanes), region.length),
            (None, Some(user)) => {
                let bytes = user.pieces.iter().map(|(_, bytes)| bytes.len() as u64);
                (user.check(), bytes.sum())
            }
            (None, None) => continue,
        };
        let step = watch.run.journal.step();
        let place = format!(
            "the file '{}', read without the block layer",
            path.display()
        );
        match outcome {
            Ok(Ok(())) => checked.bytes += bytes,
            Ok(Err(mismatch)) => watch.fail(Failure::WrongByte {
                place,
                mismatch,
                step,
            }),
            Err(error) => watch.fail(Failure::Graph {
                step,
                what: place,
                error: block_gs::IoError::from(error).into(),
            }),
        }
    }
    checked
}
