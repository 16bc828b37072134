//! The requests, and what the model makes of their outcome.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use block_gs::{IoError, Perm};
use block_io::{
    Buffer, CopyEnd, Destination, DestinationVec, InFlight, Source, SourceVec, StatusFlags,
    WriteFlags,
};

use super::cancel::Patience;
use super::disk::Disk;
use super::lengths;
use super::locks::Locked;
use super::worker::{Action, Active, LONGEST, Outcome, Worker, attempt};
use crate::tour::rng::Rng;

/// The driver does not do this, or not so.
pub fn not_supported(error: &IoError) -> bool {
    error.errno() == block_common::error::errno::ENOTSUP
}

/// The main thread has taken the permission away.
pub fn no_resize(error: &IoError) -> bool {
    matches!(error, IoError::Permission(Perm::RESIZE))
}

/// The main thread has taken the node away.
fn no_medium(error: &IoError) -> bool {
    matches!(error, IoError::NoMedium)
}

/// Does one request and compares.
pub async fn perform(worker: &mut Worker, action: Action) -> Result<(), String> {
    let disk = Arc::clone(&worker.disk);
    let range = some_range(worker, &disk);
    let locked = match action {
        Action::Truncate | Action::Grow => {
            worker.note(&format!("{action:?}"));
            return lengths::perform(worker, &disk, action).await;
        }
        Action::Flush => None,
        _ => match Locked::range(&disk, range.clone()) {
            Some(locked) => Some(locked),
            None => return Ok(()),
        },
    };
    let length = disk.model().len();
    if range.end > length || range.is_empty() {
        return Ok(());
    }
    let crowded = disk.model().is_crowded(&range);
    let action = if crowded && action != Action::Flush {
        Action::Read
    } else {
        action
    };
    let what = format!("{action:?} {}..{}", range.start, range.end);
    worker.note(&what);
    worker.shared.run.count(name_of(action));
    let performed = match action {
        Action::Read | Action::Truncate | Action::Grow => read(worker, &disk, range, false).await,
        Action::ReadBelow => read(worker, &disk, range, true).await,
        Action::Write => write(worker, &disk, range).await,
        Action::Zero => zero(worker, &disk, range).await,
        Action::Discard => discard(worker, &disk, range).await,
        Action::Flush => flush(worker, &disk).await,
        Action::Status => status(worker, &disk, range).await,
        Action::Copy => copy(worker, &disk, range).await,
        Action::Overlap => overlap(worker, &disk, range).await,
    };
    drop(locked);
    performed.map_err(|problem| format!("{what} of '{}': {problem}", disk.name))
}

fn name_of(action: Action) -> &'static str {
    match action {
        Action::Read => "reads",
        Action::ReadBelow => "reads by a second backend",
        Action::Write => "writes",
        Action::Grow => "writes beyond the end",
        Action::Zero => "zero writes",
        Action::Discard => "discards",
        Action::Flush => "flushes",
        Action::Truncate => "truncations",
        Action::Status => "status queries",
        Action::Copy => "copies",
        Action::Overlap => "overlapping writes",
    }
}

/// Somewhere on the disk: blocks, sectors, or any bytes.
fn some_range(worker: &mut Worker, disk: &Disk) -> Range<u64> {
    let length = disk.model().len();
    let rng = &mut worker.rng;
    let unit = *rng.pick(&[1, 512, 512, 4096]).unwrap_or(&1);
    let most = if rng.once_in(8) { LONGEST } else { 8192 };
    let start = rng.below(length) / unit * unit;
    let bytes = (rng.within(1..most) / unit).max(1) * unit;
    start..(start + bytes).min(length)
}

/// Random bytes, or zeroes.
pub fn some_bytes(rng: &mut Rng, bytes: u64) -> Vec<u8> {
    if rng.once_in(16) {
        return vec![0; bytes as usize];
    }
    let mut words = Vec::with_capacity(bytes as usize + 8);
    while words.len() < bytes as usize {
        words.extend_from_slice(&rng.next().to_le_bytes());
    }
    words.truncate(bytes as usize);
    words
}

/// Where a vector is cut, now and then.
fn some_cuts(rng: &mut Rng, len: usize) -> Vec<usize> {
    if len < 2 || !rng.once_in(3) {
        return Vec::new();
    }
    let unit = if rng.once_in(2) { 512 } else { 1 };
    let cuts = (0..1 + rng.below(5)).map(|_| rng.below(len as u64) as usize / unit * unit);
    let mut cuts: Vec<usize> = cuts.collect();
    cuts.sort_unstable();
    cuts
}

fn source_vec<'b>(mut source: Source<'b>, cuts: &[usize]) -> SourceVec<'b> {
    let mut vec = SourceVec::new();
    let mut at = 0;
    for &cut in cuts {
        let (front, rest) = source.split_at(cut - at);
        vec.push(front);
        (source, at) = (rest, cut);
    }
    vec.push(source);
    vec
}

fn destination_vec<'b>(mut whole: Destination<'b>, cuts: &[usize]) -> DestinationVec<'b> {
    let mut vec = DestinationVec::new();
    let mut at = 0;
    for &cut in cuts {
        let (front, rest) = whole.split_at(cut - at);
        vec.push(front);
        (whole, at) = (rest, cut);
    }
    vec.push(whole);
    vec
}

async fn read(
    worker: &mut Worker,
    disk: &Disk,
    range: Range<u64>,
    below: bool,
) -> Result<(), String> {
    let bytes = (range.end - range.start) as usize;
    let (root, offset) = match below {
        true => (&disk.second, disk.offset + range.start),
        false => (&disk.root, range.start),
    };
    let cuts = some_cuts(&mut worker.rng, bytes);
    let patience = Patience::some(&mut worker.rng);
    let by_root = worker.rng.once_in(2);
    let outcome = {
        let (into, _) = worker.buffer.destination().split_at(bytes);
        let mut into = destination_vec(into, &cuts);
        attempt(&worker.shared, patience, &[no_medium], async {
            if by_root || below {
                return root.read(offset, into.destination()).await;
            }
            let in_flight = root.begin().await;
            let _active = Active::enter(&in_flight, &disk.active);
            in_flight.request()?.read(offset, into.destination()).await
        })
        .await?
    };
    if let Outcome::Done(()) = outcome {
        let found = &worker.buffer.as_slice()[..bytes];
        let seen = disk.model().observe(range.start, found, true);
        seen.map_err(|mismatch| format!("corruption: {mismatch}"))?;
        worker
            .shared
            .verified
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }
    worker.buffer.reclaim();
    Ok(())
}

async fn write(worker: &mut Worker, disk: &Disk, range: Range<u64>) -> Result<(), String> {
    let bytes = some_bytes(&mut worker.rng, range.end - range.start);
    let outcome = write_bytes(worker, disk, range.start, &bytes).await?;
    let mut model = disk.model();
    match outcome {
        Outcome::Done(()) => {
            model.wrote(range.start, &bytes);
            worker
                .shared
                .written
                .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        Outcome::Unknown => model.may_have_written(range.start, &bytes),
        Outcome::Refused => {}
    }
    Ok(())
}

/// A write, which may end beyond the disk.
pub async fn write_bytes(
    worker: &mut Worker,
    disk: &Disk,
    offset: u64,
    bytes: &[u8],
) -> Result<Outcome<()>, String> {
    let rng = &mut worker.rng;
    let cuts = some_cuts(rng, bytes.len());
    let mut flags = WriteFlags::empty();
    flags.set(WriteFlags::FUA, rng.once_in(32));
    let patience = Patience::some(rng);
    let buffer = Buffer::from(bytes);
    attempt(&worker.shared, patience, &[no_resize], async {
        let from = source_vec(buffer.source(), &cuts);
        let in_flight = disk.root.begin().await;
        let _active = Active::enter(&in_flight, &disk.active);
        let request = in_flight.request()?;
        request.write_with(offset, from.source(), flags).await
    })
    .await
}

async fn zero(worker: &mut Worker, disk: &Disk, range: Range<u64>) -> Result<(), String> {
    let bytes = range.end - range.start;
    let mut flags = WriteFlags::empty();
    flags.set(WriteFlags::MAY_UNMAP, worker.rng.once_in(2));
    flags.set(WriteFlags::NO_FALLBACK, worker.rng.once_in(4));
    flags.set(WriteFlags::FUA, worker.rng.once_in(32));
    let patience = Patience::some(&mut worker.rng);
    let request = disk.root.write_zeroes(range.start, bytes, flags);
    let outcome = attempt(&worker.shared, patience, &[not_supported], request).await?;
    let zeroes = vec![0; bytes as usize];
    let mut model = disk.model();
    match outcome {
        Outcome::Done(()) => model.wrote(range.start, &zeroes),
        // It may have got to a part of it.
        Outcome::Unknown | Outcome::Refused => model.may_have_written(range.start, &zeroes),
    }
    Ok(())
}

async fn discard(worker: &mut Worker, disk: &Disk, range: Range<u64>) -> Result<(), String> {
    let bytes = range.end - range.start;
    let patience = Patience::some(&mut worker.rng);
    let request = disk.root.discard(range.start, bytes);
    attempt(&worker.shared, patience, &[], request).await?;
    disk.model()
        .may_have_written(range.start, &vec![0; bytes as usize]);
    Ok(())
}

/// After a flush that succeeds, now and then, nothing is in flight and the
/// file must have what the model has.
async fn flush(worker: &mut Worker, disk: &Arc<Disk>) -> Result<(), String> {
    let all = match worker.rng.once_in(16) {
        true => Some(Locked::everything(disk).await),
        false => None,
    };
    let patience = Patience::some(&mut worker.rng);
    let outcome = attempt(&worker.shared, patience, &[], disk.root.flush()).await?;
    if let (Outcome::Done(()), Some(_all)) = (outcome, all) {
        // The file stays the same while a request is in flight. What was
        // dropped may go on, so this settles nothing.
        let _in_flight: InFlight<'_> = disk.root.begin().await;
        let checked = disk.check_file(false)?;
        worker.shared.verified.fetch_add(checked, Ordering::Relaxed);
        worker
            .shared
            .flushes_checked
            .fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// What is said to read as zeroes must be able to.
async fn status(worker: &mut Worker, disk: &Disk, range: Range<u64>) -> Result<(), String> {
    let patience = Patience::some(&mut worker.rng);
    let precise = !worker.rng.once_in(4);
    let bytes = range.end - range.start;
    let outcome = attempt(&worker.shared, patience, &[], async {
        let in_flight = disk.root.begin().await;
        let request = in_flight.request()?;
        let status = request.block_status(range.start, bytes, precise).await?;
        Ok((status.flags, status.bytes))
    })
    .await?;
    let Outcome::Done((flags, known)) = outcome else {
        return Ok(());
    };
    if known == 0 || known > bytes {
        return Err(format!("the status is about {known} bytes"));
    }
    if flags.contains(StatusFlags::ZERO) {
        let zero = disk.model().may_be_zero(range.start..range.start + known);
        zero.map_err(|mismatch| format!("zeroes, says the status: {mismatch}"))?;
    }
    Ok(())
}

/// Reads first, so that what is copied is known.
async fn copy(worker: &mut Worker, disk: &Arc<Disk>, range: Range<u64>) -> Result<(), String> {
    let bytes = range.end - range.start;
    let to = some_range(worker, disk).start / 512 * 512;
    let target = to..to + bytes;
    let Some(_locked) = Locked::range(disk, target.clone()) else {
        return Ok(());
    };
    if target.end > disk.model().len() || disk.model().is_crowded(&target) {
        return Ok(());
    }
    let mut found = Buffer::zeroed(bytes as usize);
    let look = disk.root.read(range.start, found.destination());
    let looked = attempt(&worker.shared, Patience::Endless, &[], look).await?;
    let Outcome::Done(()) = looked else {
        return Ok(());
    };
    let seen = disk.model().observe(range.start, found.as_slice(), true);
    seen.map_err(|mismatch| format!("corruption: {mismatch}"))?;
    let patience = Patience::some(&mut worker.rng);
    let outcome = attempt(&worker.shared, patience, &[not_supported], async {
        let in_flight = disk.root.begin().await;
        let _active = Active::enter(&in_flight, &disk.active);
        let request = in_flight.request()?;
        let offset = target.start;
        let end = CopyEnd { request, offset };
        let flags = WriteFlags::empty();
        request.copy_range(range.start, end, bytes, flags).await
    })
    .await?;
    let mut model = disk.model();
    match outcome {
        Outcome::Done(()) => model.wrote(target.start, found.as_slice()),
        Outcome::Unknown => model.may_have_written(target.start, found.as_slice()),
        Outcome::Refused => {}
    }
    Ok(())
}

/// Two to four writes somewhere in the range, at once and from several
/// threads. Where they overlap any of them may have come last.
async fn overlap(worker: &mut Worker, disk: &Arc<Disk>, range: Range<u64>) -> Result<(), String> {
    let mut running = Vec::new();
    for _ in 0..2 + worker.rng.below(3) {
        let start = worker.rng.within(range.clone());
        let end = worker.rng.within(start + 1..range.end + 1);
        let bytes = some_bytes(&mut worker.rng, end - start);
        let Some(context) = worker.rng.pick(&worker.contexts) else {
            break;
        };
        let (disk, shared) = (Arc::clone(disk), Arc::clone(&worker.shared));
        let patience = Patience::some(&mut worker.rng);
        running.push(context.clone().spawn(async move {
            let buffer = Buffer::from(&bytes[..]);
            let request = disk.root.write(start, buffer.source());
            let outcome = attempt(&shared, patience, &[], request).await;
            (start, bytes, outcome)
        }));
    }
    let mut written = Vec::new();
    for one in running {
        let (start, bytes, outcome) = one.await;
        written.push((start, bytes, matches!(outcome?, Outcome::Done(()))));
    }
    // What one alone has written is certain; all others only may be there.
    let mut model = disk.model();
    for (start, bytes, done) in &written {
        if *done {
            model.wrote(*start, bytes);
        }
    }
    for (start, bytes, _) in &written {
        model.may_have_written(*start, bytes);
    }
    Ok(())
}
