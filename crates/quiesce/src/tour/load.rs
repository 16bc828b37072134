//! The load: tasks that send requests and compare what comes back.
//!
//! Exactness under concurrency comes from ownership. A disk begins with an
//! area that nobody writes, and everybody reads. The rest is cut into lanes;
//! one task alone writes to a lane and reads it, one request after the other,
//! and remembers how often it has written each sector. So for every byte of
//! every read there is exactly one right value, whatever the other tasks and
//! the graph do meanwhile.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use block_gs::IoError;
use block_io::{Buffer, InFlight, Root};

use super::failure::{Action, Failure, RequestId};
use super::pattern::{Mismatch, Pattern, SECTOR};
use super::rng::Rng;
use super::watch::Watch;

/// The longest request, in bytes.
pub const MAX_REQUEST: u64 = 64 << 10;

/// One request in this many is a flush, for one task of each backend.
const FLUSH_ONE_IN: u64 = 8192;

/// A backend under load, as its tasks see it.
#[derive(Debug)]
pub struct Target {
    /// Where the requests enter.
    pub root: Root,
    /// Requests of the load between their begin and their end. In a drained
    /// section above whose node the root stands it is zero.
    pub active: AtomicU64,
    /// What is on it.
    pub contents: Contents,
}

/// What must be on a disk.
#[derive(Debug)]
pub enum Contents {
    /// The tour's own pattern: an area that nobody writes, then lanes.
    Pattern {
        /// The contents.
        pattern: Pattern,
        /// Where the lanes begin, in bytes.
        lanes_at: u64,
    },
    /// The user's image: these pieces of it, by offset.
    Image {
        /// What was there before the tour.
        pieces: Vec<(u64, Vec<u8>)>,
        /// Whether they are written too.
        writable: bool,
    },
}

/// What one task has counted. Written by the task, read by everybody.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    requests: AtomicU64,
    verified: AtomicU64,
    written: AtomicU64,
    parked: AtomicU64,
    longest_pause_ns: AtomicU64,
}

/// The sum of the counters of many tasks.
#[derive(Clone, Copy, Default, Debug)]
pub struct Totals {
    /// Requests that have ended.
    pub requests: u64,
    /// Bytes that were read and compared.
    pub verified: u64,
    /// Bytes written.
    pub written: u64,
    /// Requests that had to wait for a drained section to end.
    pub parked: u64,
    /// The longest such wait, in nanoseconds.
    pub longest_pause_ns: u64,
}

impl Counters {
    /// Only the task itself adds, so no addition can be lost.
    fn add(counter: &AtomicU64, more: u64) {
        counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
    }

    fn add_to(&self, totals: &mut Totals) {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        totals.requests += get(&self.requests);
        totals.verified += get(&self.verified);
        totals.written += get(&self.written);
        totals.parked += get(&self.parked);
        totals.longest_pause_ns = totals.longest_pause_ns.max(get(&self.longest_pause_ns));
    }
}

impl Totals {
    /// Of all these tasks.
    pub fn of(counters: &[Arc<Counters>]) -> Totals {
        let mut totals = Totals::default();
        for counters in counters {
            counters.add_to(&mut totals);
        }
        totals
    }
}

/// A part of a disk that one task owns, and what is there.
#[derive(Debug)]
pub struct Lane {
    first: u64,
    generations: Vec<u32>,
}

impl Lane {
    /// Cuts the lanes' area of a disk into `count` lanes of whole sectors.
    /// The last one gets what is left over.
    pub fn cut(area: Range<u64>, count: u64) -> Vec<Lane> {
        let (first, last) = (area.start / SECTOR, area.end / SECTOR);
        let each = (last - first) / count;
        let lane = |index| {
            let start = first + index * each;
            let end = if index + 1 == count {
                last
            } else {
                start + each
            };
            Lane {
                first: start,
                generations: vec![0; (end - start) as usize],
            }
        };
        (0..count).map(lane).collect()
    }

    /// The bytes of the disk that the lane covers.
    pub fn range(&self) -> Range<u64> {
        let end = self.first + self.generations.len() as u64;
        self.first * SECTOR..end * SECTOR
    }

    /// How often a sector of the lane has been written.
    pub fn generation(&self, sector: u64) -> u32 {
        let index = sector.checked_sub(self.first);
        let known = index.and_then(|index| self.generations.get(index as usize));
        known.copied().unwrap_or(0)
    }

    fn written(&mut self, offset: u64, bytes: u64) {
        let start = (offset / SECTOR - self.first) as usize;
        for generation in &mut self.generations[start..start + (bytes / SECTOR) as usize] {
            *generation = generation.wrapping_add(1);
        }
    }
}

/// A task of the load.
pub struct Worker {
    /// Its number among those of its backend.
    pub number: usize,
    /// Whom it sends requests to.
    pub target: Arc<Target>,
    /// What it owns; empty for the user's image.
    pub lane: Lane,
    /// What it counts.
    pub counters: Arc<Counters>,
    /// What it shares with everybody.
    pub watch: Arc<Watch>,
    /// Its choices.
    pub rng: Rng,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Worker({} of {:?})", self.number, self.target.root)
    }
}

/// What the next request is.
struct Plan {
    action: Action,
    offset: u64,
    bytes: usize,
}

/// Counts a request of the load as active. Declared after the proof of the
/// request, hence dropped before it: where no request is in flight, none is
/// active.
struct Active<'a>(&'a AtomicU64);

impl<'a> Active<'a> {
    fn enter(active: &'a AtomicU64) -> Self {
        active.fetch_add(1, Ordering::SeqCst);
        Active(active)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Worker {
    /// Sends requests until it is told to stop, or one goes wrong. Returns
    /// what is in the lane then.
    pub async fn run(mut self) -> Lane {
        let mut buffer = Buffer::zeroed(MAX_REQUEST as usize);
        while !self.watch.run.is_stopping() {
            let plan = self.plan();
            let before = self.watch.run.journal.step();
            let outcome = self.request(&plan, &mut buffer).await;
            Counters::add(&self.counters.requests, 1);
            if let Err(trouble) = outcome {
                let request = Box::new(self.describe(&plan, before));
                self.watch.fail(match trouble {
                    Trouble::Mismatch(mismatch) => Failure::Corruption { request, mismatch },
                    Trouble::Io(error) => Failure::Request { request, error },
                });
                break;
            }
        }
        self.lane
    }

    fn plan(&mut self) -> Plan {
        if self.number == 0 && self.rng.once_in(FLUSH_ONE_IN) {
            return Plan {
                action: Action::Flush,
                offset: 0,
                bytes: 0,
            };
        }
        match &self.target.contents {
            Contents::Pattern { lanes_at, .. } => match self.rng.below(10) {
                0..3 => sectors_of(&mut self.rng, Action::Write, self.lane.range()),
                3..7 => bytes_of(&mut self.rng, self.lane.range()),
                _ => bytes_of(&mut self.rng, 0..*lanes_at),
            },
            Contents::Image { pieces, writable } => {
                let piece = self.rng.pick(pieces);
                let range = piece.map_or(0..0, |(at, bytes)| *at..*at + bytes.len() as u64);
                if *writable && self.rng.once_in(3) {
                    sectors_of(&mut self.rng, Action::Write, range)
                } else {
                    bytes_of(&mut self.rng, range)
                }
            }
        }
    }

    async fn request(&mut self, plan: &Plan, buffer: &mut Buffer) -> Result<(), Trouble> {
        let Plan { offset, bytes, .. } = *plan;
        if plan.action == Action::Write {
            self.fill(plan, buffer);
        }
        {
            let in_flight = self.enter().await;
            let _active = Active::enter(&self.target.active);
            let request = in_flight.request()?;
            match plan.action {
                Action::Read => {
                    let (into, _) = buffer.destination().split_at(bytes);
                    request.read(offset, into).await?;
                }
                Action::Write => {
                    let (from, _) = buffer.source().split_at(bytes);
                    request.write(offset, from).await?;
                }
                Action::Flush => request.flush().await?,
            }
        }
        match plan.action {
            Action::Read => {
                self.check(offset, &buffer.as_slice()[..bytes])?;
                Counters::add(&self.counters.verified, bytes as u64);
            }
            Action::Write => {
                if matches!(self.target.contents, Contents::Pattern { .. }) {
                    self.lane.written(offset, bytes as u64);
                }
                Counters::add(&self.counters.written, bytes as u64);
            }
            Action::Flush => {}
        }
        Ok(())
    }

    /// Begins a request, and measures how long a drained section kept it out.
    async fn enter(&self) -> InFlight<'_> {
        if let Some(in_flight) = self.target.root.try_begin() {
            return in_flight;
        }
        let arrived = Instant::now();
        let in_flight = self.target.root.begin().await;
        let waited = u64::try_from(arrived.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Counters::add(&self.counters.parked, 1);
        let longest = &self.counters.longest_pause_ns;
        longest.store(
            longest.load(Ordering::Relaxed).max(waited),
            Ordering::Relaxed,
        );
        in_flight
    }

    /// Puts what will be written into the buffer.
    fn fill(&self, plan: &Plan, buffer: &mut Buffer) {
        let bytes = &mut buffer.as_mut_slice()[..plan.bytes];
        match &self.target.contents {
            Contents::Pattern { pattern, .. } => {
                let next = |sector| self.lane.generation(sector).wrapping_add(1);
                pattern.fill(plan.offset, bytes, next);
            }
            Contents::Image { pieces, .. } => {
                if let Some(known) = known_bytes(pieces, plan.offset, plan.bytes) {
                    bytes.copy_from_slice(known);
                }
            }
        }
    }

    fn check(&self, offset: u64, bytes: &[u8]) -> Result<(), Mismatch> {
        match &self.target.contents {
            Contents::Pattern { pattern, .. } => {
                pattern.check(offset, bytes, |sector| self.lane.generation(sector))
            }
            Contents::Image { pieces, .. } => check_piece(pieces, offset, bytes),
        }
    }

    fn describe(&self, plan: &Plan, before: u64) -> RequestId {
        RequestId {
            backend: self.target.root.name().to_owned(),
            task: self.number,
            number: self.counters.requests.load(Ordering::Relaxed),
            action: plan.action,
            offset: plan.offset,
            bytes: plan.bytes,
            steps: (before, self.watch.run.journal.step()),
            thread: thread::current().name().unwrap_or("?").to_owned(),
        }
    }
}

/// Why a request was wrong.
enum Trouble {
    Mismatch(Mismatch),
    Io(IoError),
}

impl From<Mismatch> for Trouble {
    fn from(mismatch: Mismatch) -> Self {
        Trouble::Mismatch(mismatch)
    }
}

impl From<IoError> for Trouble {
    fn from(error: IoError) -> Self {
        Trouble::Io(error)
    }
}

/// Whole sectors somewhere in `range`, as a rule a few.
fn sectors_of(rng: &mut Rng, action: Action, range: Range<u64>) -> Plan {
    let first = range.start.div_ceil(SECTOR);
    let there = (range.end / SECTOR).saturating_sub(first);
    let most = if rng.once_in(16) {
        MAX_REQUEST / SECTOR
    } else {
        16
    };
    let count = rng.within(1..most.min(there) + 1).min(there);
    let start = first + rng.below(there - count + 1);
    Plan {
        action,
        offset: start * SECTOR,
        bytes: (count * SECTOR) as usize,
    }
}

/// A read somewhere in `range`; one in four begins and ends at any byte.
fn bytes_of(rng: &mut Rng, range: Range<u64>) -> Plan {
    let whole = sectors_of(rng, Action::Read, range.clone());
    if whole.bytes > 0 && !rng.once_in(4) {
        return whole;
    }
    let there = range.end - range.start;
    let bytes = rng.within(1..there.min(16 << 10) + 1).min(there);
    Plan {
        action: Action::Read,
        offset: range.start + rng.below(there - bytes + 1),
        bytes: bytes as usize,
    }
}

fn known_bytes(pieces: &[(u64, Vec<u8>)], offset: u64, bytes: usize) -> Option<&[u8]> {
    let index = pieces.partition_point(|(at, _)| *at <= offset);
    let (at, known) = pieces.get(index.checked_sub(1)?)?;
    let start = usize::try_from(offset - at).ok()?;
    known.get(start..start.checked_add(bytes)?)
}

/// Compares what was read of the user's image with what was there before.
pub fn check_piece(pieces: &[(u64, Vec<u8>)], offset: u64, bytes: &[u8]) -> Result<(), Mismatch> {
    let Some(known) = known_bytes(pieces, offset, bytes.len()) else {
        return Ok(());
    };
    if known == bytes {
        return Ok(());
    }
    let differs = known
        .iter()
        .zip(bytes)
        .position(|(known, found)| known != found);
    let index = differs.unwrap_or(0);
    Err(Mismatch {
        at: offset + index as u64,
        found: bytes[index],
        expected: known[index],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_cover_their_area_without_overlap() {
        for count in [1, 3, 7, 16] {
            let lanes = Lane::cut(1 << 20..4 << 20, count);
            assert_eq!(lanes.len() as u64, count);
            let mut at = 1 << 20;
            for lane in &lanes {
                assert_eq!(lane.range().start, at);
                at = lane.range().end;
            }
            assert_eq!(at, 4 << 20);
        }
    }

    #[test]
    fn plans_stay_in_their_range() {
        let mut rng = Rng::new(1);
        for range in [0..1, 0..511, 100..5000, 4096..4096 + (1 << 20)] {
            for _ in 0..2000 {
                let read = bytes_of(&mut rng, range.clone());
                assert!(read.bytes > 0 && read.offset >= range.start);
                assert!(read.offset + read.bytes as u64 <= range.end);
                assert!(read.bytes as u64 <= MAX_REQUEST);
                let write = sectors_of(&mut rng, Action::Write, range.clone());
                assert!(write.bytes == 0 || write.offset >= range.start);
                assert!(write.bytes == 0 || write.offset + write.bytes as u64 <= range.end);
            }
        }
    }

    #[test]
    fn a_write_ages_exactly_its_sectors() {
        let mut lane = Lane::cut(4096..8192, 1).remove(0);
        lane.written(4608, 1024);
        let ages: Vec<u32> = (8..16).map(|sector| lane.generation(sector)).collect();
        assert_eq!(ages, [0, 1, 1, 0, 0, 0, 0, 0]);
        assert_eq!(lane.generation(0), 0, "outside the lane");
    }

    #[test]
    fn pieces_of_an_image_are_compared_where_they_are() {
        let pieces = vec![(0, vec![1; 100]), (1000, vec![2; 100])];
        assert_eq!(check_piece(&pieces, 1010, &[2; 90]), Ok(()));
        let mismatch = check_piece(&pieces, 1010, &[2, 2, 3]).expect_err("a wrong byte");
        assert_eq!(
            (mismatch.at, mismatch.found, mismatch.expected),
            (1012, 3, 2)
        );
        assert_eq!(
            known_bytes(&pieces, 90, 20),
            None,
            "across the end of a piece"
        );
        assert_eq!(known_bytes(&pieces, u64::MAX, 1), None);
    }
}
