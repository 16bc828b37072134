//! Worker threads for system calls that block.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use super::uring::Keep;

/// Threads at most, as in QEMU.
const MAX_THREADS: usize = 64;

/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(10);

/// Runs `work` on a worker thread, now, and resolves to its result
/// (`thread_pool_submit_co`).
///
/// The process has one pool. It starts threads as work comes in, 64 at most, and ends them after
/// some seconds without work.
///
/// Dropping the future does not stop work that has begun; work that has not is dropped, in time, by
/// a worker. Whatever `work` owns stays alive until then. A panic of `work` reaches whoever awaits
/// the future. If the system refuses the very first thread, `work` runs in this call.
pub fn run_blocking<T, W>(work: W) -> Blocking<T>
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
{
    let task = Arc::new(Task {
        work: Mutex::new(Some(work)),
        stage: Mutex::new(Stage::Waiting(None)),
    });
    let job: Job = Arc::clone(&task) as Job;
    POOL.submit(job);
    Blocking { task }
}

/// See [`run_blocking`].
#[must_use = "await it for the result"]
pub struct Blocking<T> {
    task: Arc<dyn Awaited<T>>,
}

/// Work and what comes of it, in one allocation that the pool and the future share.
struct Task<T, W> {
    work: Mutex<Option<W>>,
    stage: Mutex<Stage<T>>,
}

/// A task as the pool sees it.
trait Run: Send + Sync {
    fn run(&self);
}

/// A task as its future sees it.
trait Awaited<T>: Send + Sync {
    fn stage(&self) -> MutexGuard<'_, Stage<T>>;
}

impl<T: Send, W: FnOnce() -> T + Send> Run for Task<T, W> {
    fn run(&self) {
        let work = lock(&self.work).take();
        let Some(work) = work else {
            unreachable!("a task is queued once");
        };
        if matches!(*lock(&self.stage), Stage::Abandoned(_)) {
            // Before the stage, and with it what was kept.
            drop(work);
            return;
        }
        let result = catch_unwind(AssertUnwindSafe(work));
        finish(&self.stage, result);
    }
}

impl<T: Send, W: Send> Awaited<T> for Task<T, W> {
    fn stage(&self) -> MutexGuard<'_, Stage<T>> {
        lock(&self.stage)
    }
}

enum Stage<T> {
    Waiting(Option<Waker>),
    Done(thread::Result<T>),
    /// Nobody waits any more; what is to be kept until the work has ended.
    Abandoned(Option<Keep>),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn finish<T>(stage: &Mutex<Stage<T>>, result: thread::Result<T>) {
    let mut stage = lock(stage);
    if let Stage::Abandoned(keep) = &mut *stage {
        let keep = keep.take();
        drop(stage);
        drop(result);
        drop(keep);
        return;
    }
    let before = mem::replace(&mut *stage, Stage::Done(result));
    drop(stage);
    if let Stage::Waiting(Some(waker)) = before {
        waker.wake();
    }
}

impl<T> Future for Blocking<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let waker = cx.waker().clone();
        let mut stage = self.task.stage();
        let next = match *stage {
            Stage::Waiting(_) => Stage::Waiting(Some(waker)),
            Stage::Done(_) => Stage::Abandoned(None),
            Stage::Abandoned(_) => panic!("polled after it was ready"),
        };
        let before = mem::replace(&mut *stage, next);
        drop(stage);
        match before {
            Stage::Done(Ok(value)) => Poll::Ready(value),
            Stage::Done(Err(panic)) => resume_unwind(panic),
            Stage::Waiting(_) | Stage::Abandoned(_) => Poll::Pending,
        }
    }
}

impl<T> Blocking<T> {
    /// Nobody waits for the work any more; `keep` is dropped when it has ended.
    pub(crate) fn abandon(self, keep: Keep) {
        self.let_go(Some(keep));
    }

    fn let_go(&self, mut keep: Option<Keep>) {
        let mut stage = self.task.stage();
        let abandoned = match *stage {
            Stage::Waiting(_) => Stage::Abandoned(keep.take()),
            Stage::Done(_) => Stage::Abandoned(None),
            // By `abandon`, and now this is dropped.
            Stage::Abandoned(_) => return,
        };
        let before = mem::replace(&mut *stage, abandoned);
        drop(stage);
        drop(before);
        drop(keep);
    }
}

impl<T> Drop for Blocking<T> {
    fn drop(&mut self) {
        self.let_go(None);
    }
}

impl<T> fmt::Debug for Blocking<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocking").finish_non_exhaustive()
    }
}

type Job = Arc<dyn Run>;

struct Pool {
    state: Mutex<State>,
    queued: Condvar,
}

struct State {
    queue: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

static POOL: Pool = Pool {
    state: Mutex::new(State {
        queue: VecDeque::new(),
        threads: 0,
        idle: 0,
    }),
    queued: Condvar::new(),
};

impl Pool {
    fn submit(&'static self, job: Job) {
        let mut state = lock(&self.state);
        state.queue.push_back(job);
        // Idle threads that were notified but have not woken yet are spoken for by what is queued.
        if state.queue.len() <= state.idle {
            drop(state);
            return self.queued.notify_one();
        }
        if state.threads == MAX_THREADS {
            return;
        }
        state.threads += 1;
        drop(state);
        let started = thread::Builder::new()
            .name("worker".to_owned())
            .spawn(|| self.work());
        if started.is_err() {
            self.do_without_new_thread();
        }
    }

    fn do_without_new_thread(&self) {
        let mut state = lock(&self.state);
        state.threads -= 1;
        if state.threads > 0 {
            return;
        }
        while let Some(job) = state.queue.pop_front() {
            drop(state);
            job.run();
            drop(job);
            state = lock(&self.state);
        }
    }

    fn work(&self) {
        let mut state = lock(&self.state);
        loop {
            while let Some(job) = state.queue.pop_front() {
                drop(state);
                job.run();
                drop(job);
                state = lock(&self.state);
            }
            state.idle += 1;
            let (woken, timeout) = self
                .queued
                .wait_timeout(state, IDLE)
                .unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if timeout.timed_out() && state.queue.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}
