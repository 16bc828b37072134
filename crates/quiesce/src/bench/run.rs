//! Sending the requests.
//!
//! As many tasks as requests may be in flight share the numbers of the
//! requests: each takes the next one, sends it and waits for it. A request
//! allocates nothing here, and one whose driver is done at once costs no turn
//! of the loop. What the requests are made of is in [`Lane::send`] alone.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use block_gs::{Backend, BqlGuard, IoError, IoThread};
use block_io::aio::JoinHandle;
use block_io::{Buffer, Root};

use super::BenchError;
use super::plan::Plan;
use super::progress::Progress;

/// Sends the requests of the plan, and returns how long they took.
pub fn run(
    bql: &mut BqlGuard,
    disk: &Backend,
    plan: &Plan,
    show: bool,
) -> Result<Duration, BenchError> {
    if plan.iothread {
        let iothread = IoThread::create(bql, "bench-io")?;
        disk.set_iothread(bql, Some(&iothread))?;
    }
    let root = disk.root();
    let length = bql.block_on(root.length()).map_err(BenchError::Request)?;
    let work = Arc::new(Work::new(plan.clone(), root.clone(), length));
    let mut lanes: Vec<Lane> = (0..plan.lanes() as usize)
        .map(|number| Lane::new(&work, number))
        .collect();
    let watched = Arc::clone(&work);
    let progress = Progress::start(show, plan.count, move || watched.sent());
    let start = Instant::now();
    let tasks: Vec<JoinHandle<()>> = lanes.drain(..).map(|lane| root.spawn(lane.run())).collect();
    let flusher = {
        let work = Arc::clone(&work);
        root.spawn(async move { work.flush_beside().await })
    };
    bql.block_on(async {
        for task in tasks {
            task.await;
        }
        work.end();
        flusher.await;
    });
    let elapsed = start.elapsed();
    drop(progress);
    match work.take_failure() {
        Some(error) => Err(BenchError::Request(error)),
        None => Ok(elapsed),
    }
}

/// What the tasks share.
struct Work {
    plan: Plan,
    root: Root,
    /// The length of the image in bytes.
    length: u64,
    /// How many requests have been sent. Changed under the lock of `turns`
    /// where there are flushes.
    sent: AtomicU64,
    failure: Mutex<Option<IoError>>,
    turns: Mutex<Turns>,
}

/// Who waits for what, where there are flushes.
struct Turns {
    in_flight: u64,
    /// Nothing is sent until those in flight are done and flushed.
    draining: bool,
    /// What flushes beside requests still has to do.
    flushes: u64,
    /// After how many requests the last flush was asked for.
    flushed_at: u64,
    ended: bool,
    /// Nothing is waited for any more but what is in flight.
    failed: bool,
    /// By lane, so that a lane which is polled twice waits once.
    waiting: Vec<Option<Waker>>,
    flusher: Option<Waker>,
}

impl Work {
    fn new(plan: Plan, root: Root, length: u64) -> Self {
        let turns = Turns {
            in_flight: 0,
            draining: false,
            flushes: 0,
            flushed_at: 0,
            ended: false,
            failed: false,
            waiting: vec![None; plan.lanes() as usize],
            flusher: None,
        };
        Work {
            plan,
            root,
            length,
            sent: AtomicU64::new(0),
            failure: Mutex::new(None),
            turns: Mutex::new(turns),
        }
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed).min(self.plan.count)
    }

    /// The number of the next request; `None` when there is none left.
    async fn next(&self, lane: usize) -> Option<u64> {
        let number = match self.plan.flush_interval {
            // Relaxed: the number is all that it says.
            None => self.sent.fetch_add(1, Ordering::Relaxed),
            Some(_) => poll_fn(|cx| self.poll_next(lane, cx)).await,
        };
        (number < self.plan.count).then_some(number)
    }

    fn poll_next(&self, lane: usize, cx: &Context<'_>) -> Poll<u64> {
        let mut turns = self.turns();
        if turns.draining {
            turns.waiting[lane] = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let number = self.sent.load(Ordering::Relaxed);
        if number < self.plan.count {
            self.sent.store(number + 1, Ordering::Relaxed);
            turns.in_flight += 1;
        }
        Poll::Ready(number)
    }

    /// A request has ended well. Returns whether this task is to flush now.
    fn ends(&self) -> bool {
        if self.plan.flush_interval.is_none() {
            return false;
        }
        let mut turns = self.turns();
        if turns.failed {
            return false;
        }
        turns.in_flight -= 1;
        let sent = self.sent();
        if self.plan.is_flush_due(sent) && turns.flushed_at != sent {
            turns.flushed_at = sent;
            if self.plan.drain {
                turns.draining = true;
            } else {
                turns.flushes += 1;
                let flusher = turns.flusher.take();
                drop(turns);
                flusher.into_iter().for_each(Waker::wake);
                return false;
            }
        }
        turns.draining && turns.in_flight == 0
    }

    /// What was drained has been flushed, or there is nothing more to do.
    fn resume(&self) {
        let mut turns = self.turns();
        turns.draining = false;
        // Woken under the lock: this is once an interval, and the list stays
        // where it is.
        for waker in turns.waiting.iter_mut().filter_map(Option::take) {
            waker.wake();
        }
    }

    /// Flushes that do not wait for requests, one after the other.
    async fn flush_beside(&self) {
        while poll_fn(|cx| self.poll_flush(cx)).await {
            if let Err(error) = self.root.flush().await {
                self.fails(error);
            }
        }
    }

    fn poll_flush(&self, cx: &Context<'_>) -> Poll<bool> {
        let mut turns = self.turns();
        if turns.flushes > 0 {
            turns.flushes -= 1;
            return Poll::Ready(true);
        }
        if turns.ended {
            return Poll::Ready(false);
        }
        turns.flusher = Some(cx.waker().clone());
        Poll::Pending
    }

    /// All requests are done.
    fn end(&self) {
        let mut turns = self.turns();
        turns.ended = true;
        let flusher = turns.flusher.take();
        drop(turns);
        flusher.into_iter().for_each(Waker::wake);
    }

    /// The first failure counts; nothing more is sent.
    fn fails(&self, error: IoError) {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(error);
        {
            let mut turns = self.turns();
            turns.failed = true;
            self.sent.store(self.plan.count, Ordering::Relaxed);
        }
        self.resume();
    }

    fn take_failure(&self) -> Option<IoError> {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.take()
    }

    /// Nothing panics while it is held.
    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request at a time.
struct Lane {
    work: Arc<Work>,
    number: usize,
    buffer: Buffer,
}

impl Lane {
    fn new(work: &Arc<Work>, number: usize) -> Self {
        let mut buffer = Buffer::zeroed(work.plan.size);
        if let Some(pattern @ 1..) = work.plan.pattern {
            buffer.as_mut_slice().fill(pattern);
        }
        Lane {
            work: Arc::clone(work),
            number,
            buffer,
        }
    }

    async fn run(mut self) {
        while let Some(number) = self.work.next(self.number).await {
            let offset = self.work.plan.offset(number, self.work.length);
            if let Err(error) = self.send(offset).await {
                self.work.fails(error);
                return;
            }
            if self.work.ends() {
                if let Err(error) = self.work.root.flush().await {
                    self.work.fails(error);
                    return;
                }
                self.work.resume();
            }
        }
    }

    /// One request.
    async fn send(&mut self, offset: u64) -> Result<(), IoError> {
        let work = &*self.work;
        if work.plan.pattern.is_none() {
            return work.root.read(offset, self.buffer.destination()).await;
        }
        work.root.write(offset, self.buffer.source()).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use block_drivers::{Counters, NullCo, Stats};
    use block_gs::{BlockLayer, Perm};

    use super::*;

    const COUNT: u64 = 20;

    /// What reaches the image.
    fn counters(plan: &Plan, latency: Duration) -> Counters {
        let layer = BlockLayer::new().expect("a block layer");
        layer.enter(|bql| {
            let null = NullCo::new(8192).latency(latency);
            let null = null.open(bql, "null").expect("opened");
            let stats = Stats::over(&null).open(bql, "stats").expect("opened");
            let perm = Perm::CONSISTENT_READ | Perm::WRITE;
            let disk = Backend::new(bql, "disk", perm, Perm::all()).expect("a backend");
            disk.insert(bql, &stats).expect("inserted");
            run(bql, &disk, plan, false).expect("no failure");
            stats.driver::<Stats>().expect("just made").counters()
        })
    }

    fn plan() -> Plan {
        Plan {
            count: COUNT,
            depth: 2,
            size: 512,
            step: 512,
            start: 0,
            pattern: None,
            flush_interval: None,
            drain: true,
            iothread: false,
        }
    }

    /// Devices that are done at once, and such that are not.
    const LATENCIES: [Duration; 2] = [Duration::ZERO, Duration::from_micros(200)];

    #[test]
    fn as_many_requests_are_sent_as_were_asked_for() {
        for depth in [1, 3, COUNT, 1000] {
            for latency in LATENCIES {
                let counters = counters(&Plan { depth, ..plan() }, latency);
                assert_eq!(counters.reads.requests, COUNT);
                assert_eq!(counters.reads.bytes, COUNT * 512);
                assert_eq!(
                    (counters.writes.requests, counters.flushes.requests),
                    (0, 0)
                );
            }
        }
    }

    #[test]
    fn each_interval_has_one_flush() {
        for latency in LATENCIES {
            for drain in [true, false] {
                for iothread in [true, false] {
                    let plan = Plan {
                        pattern: Some(1),
                        flush_interval: Some(3),
                        drain,
                        iothread,
                        ..plan()
                    };
                    let counters = counters(&plan, latency);
                    assert_eq!(counters.writes.requests, COUNT);
                    assert_eq!(counters.flushes.requests, 7, "{plan:?}");
                }
            }
        }
    }
}
