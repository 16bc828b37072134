//! What a device counts of its requests (`BlockAcctStats`).
//!
//! Nothing is counted by itself: a device [begins](Statistics::start) when it
//! takes a request from its guest, and says how it ended. So requests of jobs
//! and exports cost nothing here, and a request that the device merges from
//! several counts as the guest sees it.
//!
//! Counters are relaxed atomics in as many shards as iothreads are expected;
//! they are made when first used. Averages and histograms, which somebody has
//! to ask for, take a lock; one load finds out that nobody has.

mod histogram;
mod timed_average;

pub use histogram::{BadBoundaries, Histogram};

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use block_common::sync::Mutex;
use crossbeam::utils::CachePadded;

use crate::engine::{shard_count, thread_shard};
use timed_average::TimedAverage;

/// What kind of request is counted (`BlockAcctType`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// Flushes.
    Flush,
    /// Discards.
    Unmap,
    /// Appends to zones.
    ZoneAppend,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 5] = [
        Kind::Read,
        Kind::Write,
        Kind::Flush,
        Kind::Unmap,
        Kind::ZoneAppend,
    ];
}

/// How many intervals averages can be kept for.
const MAX_INTERVALS: usize = 64;

#[derive(Default)]
struct Counters {
    bytes: AtomicU64,
    operations: AtomicU64,
    failed: AtomicU64,
    invalid: AtomicU64,
    merged: AtomicU64,
    time_ns: AtomicU64,
}

type Shard = [Counters; Kind::ALL.len()];

/// What has been counted of one kind of request, since the beginning.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Bytes of those that succeeded.
    pub bytes: u64,
    /// How many succeeded.
    pub operations: u64,
    /// How many failed.
    pub failed: u64,
    /// How many the device refused: its guest asked for what cannot be.
    pub invalid: u64,
    /// How many became part of another one.
    pub merged: u64,
    /// What they took together: those that succeeded, and those that failed
    /// if [that counts](Statistics::set_counted).
    pub time: Duration,
}

/// Latencies of one kind of request during an interval
/// (`block_acct_queue_depth` and the like).
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Latencies {
    /// The shortest.
    pub least: Duration,
    /// Their mean.
    pub mean: Duration,
    /// The longest.
    pub greatest: Duration,
    /// How many were in flight on the average.
    pub queue_depth: f64,
}

/// What somebody has asked for.
#[derive(Default)]
struct Details {
    intervals: Vec<[TimedAverage; Kind::ALL.len()]>,
    histograms: [Option<Histogram>; Kind::ALL.len()],
}

/// What a device counts of its requests. Any thread, no proof.
pub struct Statistics {
    beginning: Instant,
    shards: OnceLock<Box<[CachePadded<Shard>]>>,
    /// When the last request ended, in nanoseconds since the beginning; 0 if
    /// none has.
    last_access_ns: AtomicU64,
    counts_invalid: AtomicBool,
    counts_failed: AtomicBool,
    has_details: AtomicBool,
    details: Mutex<Details>,
}

impl Default for Statistics {
    fn default() -> Self {
        Statistics {
            beginning: Instant::now(),
            shards: OnceLock::new(),
            last_access_ns: AtomicU64::new(0),
            counts_invalid: AtomicBool::new(true),
            counts_failed: AtomicBool::new(true),
            has_details: AtomicBool::new(false),
            details: Mutex::default(),
        }
    }
}

impl std::fmt::Debug for Statistics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let totals = Kind::ALL.map(|kind| (kind, self.totals(kind)));
        f.debug_map().entries(totals).finish()
    }
}

/// A request that is being accounted for (`BlockAcctCookie`). It counts when
/// it is [done](Accounted::done) or has [failed](Accounted::failed), and not
/// at all when dropped.
#[must_use = "nothing is counted until `done` or `failed` is called"]
#[derive(Debug)]
pub struct Accounted<'s> {
    statistics: &'s Statistics,
    kind: Kind,
    bytes: u64,
    since_ns: u64,
}

impl Accounted<'_> {
    /// It succeeded (`block_acct_done`).
    pub fn done(self) {
        self.end(false);
    }

    /// It failed (`block_acct_failed`).
    pub fn failed(self) {
        self.end(true);
    }

    /// It succeeded or failed.
    pub fn end_with<T, E>(self, outcome: &Result<T, E>) {
        self.end(outcome.is_err());
    }

    fn end(self, failed: bool) {
        let statistics = self.statistics;
        let now_ns = statistics.now_ns();
        let latency_ns = now_ns.saturating_sub(self.since_ns);
        let counters = statistics.counters(self.kind);
        if failed {
            counters.failed.fetch_add(1, Ordering::Relaxed);
        } else {
            counters.bytes.fetch_add(self.bytes, Ordering::Relaxed);
            counters.operations.fetch_add(1, Ordering::Relaxed);
        }
        let timed = !failed || statistics.counts_failed.load(Ordering::Relaxed);
        if timed {
            counters.time_ns.fetch_add(latency_ns, Ordering::Relaxed);
            statistics.note_access(now_ns);
        }
        if statistics.has_details.load(Ordering::Relaxed) {
            statistics.note_details(self.kind, latency_ns, now_ns, timed);
        }
    }
}

impl Statistics {
    /// Nanoseconds since the beginning, at least 1.
    fn now_ns(&self) -> u64 {
        let now = self.beginning.elapsed().as_nanos();
        u64::try_from(now).unwrap_or(u64::MAX).max(1)
    }

    fn counters(&self, kind: Kind) -> &Counters {
        let make = || (0..shard_count()).map(|_| CachePadded::default()).collect();
        let shards = self.shards.get_or_init(make);
        &shards[thread_shard() % shards.len()][kind as usize]
    }

    fn note_access(&self, now_ns: u64) {
        self.last_access_ns.fetch_max(now_ns, Ordering::Relaxed);
    }

    #[cold]
    fn note_details(&self, kind: Kind, latency_ns: u64, now_ns: u64, timed: bool) {
        let mut details = self.details.lock();
        if let Some(histogram) = &mut details.histograms[kind as usize] {
            histogram.account(latency_ns);
        }
        if timed {
            for interval in &mut details.intervals {
                interval[kind as usize].account(latency_ns, now_ns);
            }
        }
    }

    /// A request of `bytes` bytes begins (`block_acct_start`).
    pub fn start(&self, kind: Kind, bytes: u64) -> Accounted<'_> {
        Accounted {
            statistics: self,
            kind,
            bytes,
            since_ns: self.now_ns(),
        }
    }

    /// The device refuses a request of its guest (`block_acct_invalid`).
    pub fn invalid(&self, kind: Kind) {
        let counters = self.counters(kind);
        counters.invalid.fetch_add(1, Ordering::Relaxed);
        if self.counts_invalid.load(Ordering::Relaxed) {
            self.note_access(self.now_ns());
        }
    }

    /// So many requests have become part of another one
    /// (`block_acct_merge_done`).
    pub fn merged(&self, kind: Kind, requests: u64) {
        let counters = self.counters(kind);
        counters.merged.fetch_add(requests, Ordering::Relaxed);
    }

    /// Says whether requests that are refused, and those that fail, count for
    /// times (`stats-account-invalid`, `stats-account-failed`;
    /// `block_acct_setup`). Both do at first.
    pub fn set_counted(&self, invalid: bool, failed: bool) {
        self.counts_invalid.store(invalid, Ordering::Relaxed);
        self.counts_failed.store(failed, Ordering::Relaxed);
    }

    /// Whether requests that are refused, and those that fail, count for
    /// times.
    pub fn counted(&self) -> (bool, bool) {
        (
            self.counts_invalid.load(Ordering::Relaxed),
            self.counts_failed.load(Ordering::Relaxed),
        )
    }

    /// What has been counted. Requests that end meanwhile may be in one of
    /// the numbers and not in another.
    pub fn totals(&self, kind: Kind) -> Totals {
        let mut totals = Totals::default();
        let shards = self.shards.get().map_or(&[][..], |shards| shards);
        let mut time_ns: u64 = 0;
        for shard in shards {
            let counters = &shard[kind as usize];
            totals.bytes += counters.bytes.load(Ordering::Relaxed);
            totals.operations += counters.operations.load(Ordering::Relaxed);
            totals.failed += counters.failed.load(Ordering::Relaxed);
            totals.invalid += counters.invalid.load(Ordering::Relaxed);
            totals.merged += counters.merged.load(Ordering::Relaxed);
            time_ns = time_ns.saturating_add(counters.time_ns.load(Ordering::Relaxed));
        }
        totals.time = Duration::from_nanos(time_ns);
        totals
    }

    /// How long ago the last request ended; `None` before the first
    /// (`block_acct_idle_time_ns`).
    pub fn idle_time(&self) -> Option<Duration> {
        let last = self.last_access_ns.load(Ordering::Relaxed);
        (last > 0).then(|| Duration::from_nanos(self.now_ns().saturating_sub(last)))
    }

    /// Keeps averages of the last `length` from now on
    /// (`block_acct_add_interval`). Says no when too many are kept.
    pub fn add_interval(&self, length: Duration) -> bool {
        let length_ns = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        let average = TimedAverage::new(length_ns, self.now_ns());
        let mut details = self.details.lock();
        if details.intervals.len() >= MAX_INTERVALS {
            return false;
        }
        details
            .intervals
            .push(std::array::from_fn(|_| average.clone()));
        self.has_details.store(true, Ordering::Relaxed);
        true
    }

    /// The averages, in the order in which they were asked for, with their
    /// lengths (`block_acct_interval_next`).
    pub fn intervals(&self, kind: Kind) -> Vec<(Duration, Latencies)> {
        let now_ns = self.now_ns();
        let mut details = self.details.lock();
        let averages = details.intervals.iter_mut();
        averages
            .map(|average| {
                let average = &mut average[kind as usize];
                let summary = average.summary(now_ns);
                let latencies = Latencies {
                    least: Duration::from_nanos(summary.least),
                    mean: Duration::from_nanos(summary.mean),
                    greatest: Duration::from_nanos(summary.greatest),
                    queue_depth: summary.sum as f64 / summary.elapsed_ns.max(1) as f64,
                };
                (Duration::from_nanos(average.length_ns()), latencies)
            })
            .collect()
    }

    /// Keeps a histogram of latencies from now on, or none
    /// (`block_latency_histogram_set`, `block_latency_histograms_clear`).
    pub fn set_histogram(&self, kind: Kind, histogram: Option<Histogram>) {
        let mut details = self.details.lock();
        details.histograms[kind as usize] = histogram;
        let any = !details.intervals.is_empty() || details.histograms.iter().any(Option::is_some);
        self.has_details.store(any, Ordering::Relaxed);
    }

    /// The histogram of latencies, if one is kept.
    pub fn histogram(&self, kind: Kind) -> Option<Histogram> {
        self.details.lock().histograms[kind as usize].clone()
    }
}

#[cfg(all(test, not(block_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_request_counts_as_it_ends_and_where_it_is_dropped_not_at_all() {
        let statistics = Statistics::default();
        assert_eq!(statistics.idle_time(), None);
        statistics.start(Kind::Write, 512).done();
        statistics.start(Kind::Write, 4096).failed();
        statistics
            .start(Kind::Write, 100)
            .end_with(&Ok::<(), ()>(()));
        drop(statistics.start(Kind::Write, 1 << 20));
        statistics.invalid(Kind::Write);
        statistics.merged(Kind::Write, 3);
        let totals = statistics.totals(Kind::Write);
        let counts = (totals.bytes, totals.operations, totals.failed);
        assert_eq!(counts, (612, 2, 1));
        assert_eq!((totals.invalid, totals.merged), (1, 3));
        assert_eq!(statistics.totals(Kind::Read), Totals::default());
        assert!(statistics.idle_time().is_some());
    }

    #[test]
    fn what_fails_takes_no_time_where_that_is_not_counted() {
        let statistics = Statistics::default();
        statistics.set_counted(false, false);
        let request = statistics.start(Kind::Read, 1);
        std::thread::sleep(Duration::from_millis(1));
        request.failed();
        statistics.invalid(Kind::Read);
        assert_eq!(statistics.totals(Kind::Read).time, Duration::ZERO);
        assert_eq!(statistics.idle_time(), None);
        assert_eq!(statistics.totals(Kind::Read).failed, 1);
    }

    #[test]
    fn averages_and_histograms_are_kept_for_those_who_ask() {
        let statistics = Statistics::default();
        let histogram = Histogram::new(&[1_000_000]).expect("rising");
        statistics.set_histogram(Kind::Flush, Some(histogram));
        assert!(statistics.add_interval(Duration::from_secs(3600)));
        let request = statistics.start(Kind::Flush, 0);
        std::thread::sleep(Duration::from_millis(2));
        request.done();
        let kept = statistics.histogram(Kind::Flush).expect("kept");
        assert_eq!(kept.bins(), [0, 1]);
        let [(length, latencies)] = statistics.intervals(Kind::Flush)[..] else {
            panic!("one interval");
        };
        assert_eq!(length, Duration::from_secs(3600));
        assert!(latencies.least >= Duration::from_millis(2));
        assert_eq!(latencies.least, latencies.greatest);
        assert!(latencies.queue_depth > 0.0);
        assert_eq!(
            statistics.intervals(Kind::Read)[0].1.greatest,
            Duration::ZERO
        );
    }

    #[test]
    fn threads_count_together() {
        let statistics = Statistics::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        statistics.start(Kind::Read, 2).done();
                    }
                });
            }
        });
        let totals = statistics.totals(Kind::Read);
        assert_eq!((totals.operations, totals.bytes), (4000, 8000));
    }

    #[test]
    fn intervals_are_bounded() {
        let statistics = Statistics::default();
        for _ in 0..MAX_INTERVALS {
            assert!(statistics.add_interval(Duration::from_secs(1)));
        }
        assert!(!statistics.add_interval(Duration::from_secs(1)));
    }
}
