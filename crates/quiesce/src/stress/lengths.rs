//! Requests that change the length.
//!
//! They have the disk to themselves. When one fails or is dropped, another one
//! says definitely how long the disk is to be.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use block_io::Preallocation;
use block_io::aio::sleep;

use super::cancel::Patience;
use super::disk::Disk;
use super::locks::Locked;
use super::requests::{no_resize, some_bytes, write_bytes};
use super::worker::{Action, Active, Outcome, Worker, attempt};

/// Does one and compares.
pub async fn perform(worker: &mut Worker, disk: &Arc<Disk>, action: Action) -> Result<(), String> {
    if !disk.resizes {
        return Ok(());
    }
    let _locked = Locked::everything(disk).await;
    let old = disk.model().len();
    let (what, performed) = match action {
        Action::Grow => {
            worker.shared.run.count("writes beyond the end");
            let most = disk.most.saturating_sub(old).min(32 << 10);
            let end = old + worker.rng.below(most + 1) / disk.granularity * disk.granularity;
            let start = worker.rng.within(old.saturating_sub(8192)..end);
            (
                format!("write {start}..{end}"),
                grow(worker, disk, start, end).await,
            )
        }
        _ => {
            worker.shared.run.count("truncations");
            let length = worker.rng.within(disk.most / 2..disk.most);
            let length = length / disk.granularity * disk.granularity;
            (
                format!("truncate to {length}"),
                truncate(worker, disk, length).await,
            )
        }
    };
    let checked = match performed {
        Ok(()) => check_length(worker, disk).await,
        Err(problem) => Err(problem),
    };
    checked.map_err(|problem| format!("{what} of '{}', {old} bytes long: {problem}", disk.name))
}

async fn grow(worker: &mut Worker, disk: &Disk, start: u64, end: u64) -> Result<(), String> {
    let old = disk.model().len();
    if end <= start {
        return Ok(());
    }
    let bytes = some_bytes(&mut worker.rng, end - start);
    match write_bytes(worker, disk, start, &bytes).await? {
        Outcome::Done(()) => {
            disk.model().wrote(start, &bytes);
            worker
                .shared
                .written
                .fetch_add(end - start, Ordering::Relaxed);
        }
        Outcome::Refused => {}
        Outcome::Unknown => {
            let length = if worker.rng.once_in(2) { old } else { end };
            define_length(worker, disk, length).await?;
            let mut model = disk.model();
            model.set_length(length);
            model.may_have_written(start, &bytes[..(length.max(start) - start) as usize]);
        }
    }
    Ok(())
}

async fn truncate(worker: &mut Worker, disk: &Disk, length: u64) -> Result<(), String> {
    let old = disk.model().len();
    let patience = match worker.rng.once_in(3) {
        true => Patience::Polls(1 + worker.rng.below(2) as u32),
        false => Patience::some(&mut worker.rng),
    };
    let preallocation = match worker.rng.below(6) {
        0 => Preallocation::Falloc,
        1 => Preallocation::Full,
        _ => Preallocation::Off,
    };
    // Files that shrink cannot be preallocated.
    let preallocation = if length > old {
        preallocation
    } else {
        Preallocation::Off
    };
    let exact = worker.rng.once_in(2);
    let outcome = attempt(&worker.shared, patience, &[no_resize], async {
        let in_flight = disk.root.begin().await;
        let _active = Active::enter(&in_flight, &disk.active);
        let request = in_flight.request()?;
        request.truncate(length, exact, preallocation).await
    })
    .await?;
    match outcome {
        Outcome::Done(()) => disk.model().set_length(length),
        Outcome::Refused => {}
        Outcome::Unknown => {
            let definite = match worker.rng.below(3) {
                0 => old,
                1 => length,
                _ => {
                    worker.rng.within(disk.most / 2..disk.most) / disk.granularity
                        * disk.granularity
                }
            };
            define_length(worker, disk, definite).await?;
            let mut model = disk.model();
            model.set_length(definite);
            // It may have been shorter in between.
            if length < old.min(definite) {
                let lost = old.min(definite) - length;
                model.may_have_written(length, &vec![0; lost as usize]);
            }
        }
    }
    Ok(())
}

/// Tries until it succeeds.
async fn define_length(worker: &Worker, disk: &Disk, length: u64) -> Result<(), String> {
    loop {
        let request = disk.root.truncate(length, true, Preallocation::Off);
        let tried = attempt(&worker.shared, Patience::Endless, &[no_resize], request).await;
        match tried.map_err(|problem| format!("then truncate to {length}: {problem}"))? {
            Outcome::Done(()) => return Ok(()),
            Outcome::Unknown | Outcome::Refused => sleep(Duration::from_micros(200)).await,
        }
    }
}

async fn check_length(worker: &Worker, disk: &Disk) -> Result<(), String> {
    let expected = disk.model().len();
    let request = disk.root.length();
    match attempt(&worker.shared, Patience::Endless, &[], request).await? {
        Outcome::Done(found) if found != expected => Err(format!(
            "corruption: the disk is {found} bytes long and must have {expected}"
        )),
        _ => Ok(()),
    }
}
