//! A job as its code sees it.

use std::fmt;
use std::future::Future;
use std::sync::atomic::Ordering;
use std::time::Duration;

use block_common::{IoError, WriteFlags};
use block_gs::{BqlGuard, MainLoopGone};
use block_io::aio::{sleep, yield_now};
use block_io::engine::Working;
use block_io::{Destination, InFlight, Source};

use crate::driver::AnyRun;
use crate::engine::Cancel;
use crate::shared::Shared;
use crate::{
    ErrorAction, Failure, Job, JobBackend, JobEvent, JobStatus, OnError, Operation, PauseHooks,
    Progress, completion,
};

/// A job as its code sees it: what it may do, and what others want of it.
///
/// Only the job layer makes one, for a job that was started, and lends it to
/// [`JobRun::run`](crate::JobRun::run). A drained section over one of the
/// job's nodes waits until the code comes to a *pause point*: every method
/// that says so, besides [`pause_point`](JobContext::pause_point) itself. A
/// request borrows the context, so none is open at a pause point.
///
/// A job that is cancelled by force never pauses, and its requests fail: it
/// has nothing left to do but to end.
pub struct JobContext<'j> {
    shared: &'j Shared,
    /// Drained sections wait for it; none while it rests, and of a job that is
    /// cancelled.
    step: Option<Working<'j>>,
    hooks: Option<Box<dyn PauseHooks>>,
}

impl fmt::Debug for JobContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobContext({})", self.shared.id())
    }
}

/// Says, however the code ends, that it has.
struct Ending {
    job: Job,
    outcome: Option<Result<(), Failure>>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let shared = self.job.shared();
        shared.ending.store(true, Ordering::Release);
        shared.engine.returned();
        let job = self.job.clone();
        let outcome = self.outcome.take();
        // None when the code panicked, or its event loop has ended.
        let outcome = outcome.unwrap_or_else(|| {
            Err(Failure::new(
                block_common::error::errno::EIO,
                "the code of the job has ended in the middle",
            ))
        });
        shared
            .main
            .schedule(move |bql| completion::exit(bql, &job, outcome));
    }
}

/// Runs the code of a job (`job_co_entry`).
pub(crate) async fn run(job: Job, code: Box<dyn AnyRun>) {
    let mut context = JobContext {
        shared: job.shared(),
        step: None,
        hooks: None,
    };
    // Dropped before the context is: a section that waits for the step finds
    // that there is an end to wait for.
    let mut ending = Ending {
        job: job.clone(),
        outcome: None,
    };
    // A job may be told to pause before it is started.
    context.work().await;
    let outcome = code.run(&mut context).await;
    if context.step.is_none() {
        // The code has given up a pause point half way. Whoever made it pause
        // has been told that it does.
        context.work().await;
    }
    ending.outcome = Some(outcome);
}

impl<'j> JobContext<'j> {
    /// Begins a step.
    async fn work(&mut self) {
        let shared = self.shared;
        self.step = shared.engine.step(shared).await;
    }

    /// The id; empty for an internal job.
    pub fn id(&self) -> &'j str {
        self.shared.id()
    }

    /// How far the job has come.
    pub fn progress(&self) -> Progress {
        self.shared.progress()
    }

    /// So much more is done (`job_progress_update`).
    pub fn progress_done(&self, done: u64) {
        self.shared.change_progress(|progress| {
            progress.current = progress.current.saturating_add(done);
        });
    }

    /// So much is left to do (`job_progress_set_remaining`).
    pub fn progress_set_remaining(&self, remaining: u64) {
        self.shared.change_progress(|progress| {
            progress.total = progress.current.saturating_add(remaining);
        });
    }

    /// There is so much more to do (`job_progress_increase_remaining`).
    pub fn progress_add_remaining(&self, more: u64) {
        self.shared.change_progress(|progress| {
            progress.total = progress.total.saturating_add(more);
        });
    }

    /// Whether the job is cancelled and nothing of it is to stay
    /// (`job_is_cancelled`).
    pub fn is_cancelled(&self) -> bool {
        self.shared.engine.is_cancelled()
    }

    /// Whether somebody wants the job to end early, with or without force
    /// (`job_cancel_requested`).
    pub fn is_cancel_requested(&self) -> bool {
        self.shared.engine.cancel_state() > Cancel::No
    }

    /// For `?`: an error if the job [is cancelled](JobContext::is_cancelled).
    ///
    /// # Errors
    /// [`Failure::cancelled`].
    pub fn check_cancelled(&self) -> Result<(), Failure> {
        if self.is_cancelled() {
            return Err(Failure::cancelled());
        }
        Ok(())
    }

    /// Whether the next pause point will pause.
    pub fn should_pause(&self) -> bool {
        self.shared.engine.should_pause()
    }

    /// What is done from now on around each pause.
    pub fn set_pause_hooks(&mut self, hooks: impl PauseHooks + 'static) {
        self.hooks = Some(Box::new(hooks));
    }

    /// Pauses while somebody wants that (`job_pause_point`).
    pub async fn pause_point(&mut self) {
        if !self.should_pause() {
            return;
        }
        if let Some(hooks) = &mut self.hooks {
            hooks.pause().await;
        }
        if self.should_pause() {
            let shared = self.shared;
            let step = self.step.take();
            self.step = shared.engine.next_step(step, shared).await;
        }
        if let Some(hooks) = &mut self.hooks {
            hooks.resume().await;
        }
    }

    /// Sleeps, or less: until somebody wants something of the job. Then a
    /// pause point (`job_sleep_ns`).
    pub async fn sleep(&mut self, duration: Duration) {
        if duration.is_zero() {
            yield_now().await;
        } else if !self.is_cancelled() {
            self.shared.engine.rest(sleep(duration)).await;
        }
        self.pause_point().await;
    }

    /// Rests until somebody [wants](Job::kick) something of the job. Then a
    /// pause point (`job_yield`).
    pub async fn rest(&mut self) {
        if !self.is_cancelled() {
            self.shared.engine.rest(std::future::pending()).await;
        }
        self.pause_point().await;
    }

    /// So many bytes more count for the job's speed
    /// (`block_job_ratelimit_processed_bytes`).
    pub fn processed(&self, bytes: u64) {
        self.shared.processed(bytes);
    }

    /// Sleeps as long as the job's speed demands. A pause point, also when
    /// there is nothing to wait for (`block_job_ratelimit_sleep`).
    pub async fn throttle(&mut self) {
        loop {
            let delay = self.shared.processed(0);
            self.sleep(delay).await;
            if delay.is_zero() || self.is_cancelled() {
                return;
            }
        }
    }

    /// The job is ready: it can be told to complete, and goes on until then
    /// (`job_transition_to_ready`).
    ///
    /// # Panics
    /// When it was ready before.
    pub fn ready(&mut self) {
        let shared = self.shared;
        let tell = |status| shared.note(status);
        shared.engine.become_(JobStatus::Ready, tell);
        shared.note_block_job(JobEvent::Ready);
        shared.events.announce();
    }

    /// What to do about a request that has failed
    /// (`block_job_error_action`). After [`ErrorAction::Stop`] the job pauses
    /// at its next pause point, until the user resumes it; it is to try again
    /// then.
    pub fn error_action(
        &mut self,
        policy: OnError,
        operation: Operation,
        error: &IoError,
    ) -> ErrorAction {
        let shared = self.shared;
        let action = policy.action(error.errno());
        shared.note_block_job(|job| JobEvent::Error {
            id: job.id,
            operation,
            action,
        });
        shared.events.announce();
        if action == ErrorAction::Stop {
            shared.engine.pause_for_user();
            shared.request_failed(error.errno());
        }
        action
    }

    /// Awaits something that goes on beside the job's code: drained sections
    /// do not wait for it. A pause point, after it.
    ///
    /// For what counts its own requests, such as several copies at once, and
    /// for what may itself drain one of the job's nodes. It is awaited to its
    /// end also when the job is cancelled, and its code is not kept from
    /// running in a section, where its requests are parked.
    pub async fn wait<T>(&mut self, future: impl Future<Output = T>) -> T {
        drop(self.step.take());
        let output = future.await;
        self.work().await;
        output
    }

    /// Has something done in the main loop, with the guard, and awaits what
    /// comes of it. The job counts as paused meanwhile, so it may drain the
    /// job's nodes. A pause point.
    ///
    /// # Errors
    /// [`MainLoopGone`] when the block layer has been dropped.
    pub async fn main_loop<R: Send + 'static>(
        &mut self,
        f: impl FnOnce(&mut BqlGuard) -> R + Send + 'static,
    ) -> Result<R, MainLoopGone> {
        let main = self.shared.main.clone();
        self.wait(main.call(f)).await
    }

    /// Begins a request. A pause point while the gate is closed, since it is
    /// a drained section of one of the job's nodes that closes it.
    ///
    /// The request borrows the context, so the job does not pause before it
    /// is over: a section would wait for the one, and the other for the
    /// section.
    ///
    /// # Errors
    /// [`IoError::Cancelled`] in a job that is cancelled by force.
    pub async fn begin<'a>(&'a mut self, backend: &'a JobBackend) -> Result<InFlight<'a>, IoError> {
        let root = backend.root();
        loop {
            if self.is_cancelled() {
                return Err(IoError::Cancelled);
            }
            if let Some(in_flight) = root.try_begin() {
                return Ok(in_flight);
            }
            if !self.should_pause() {
                let opened = async { drop(root.begin().await) };
                self.shared.engine.rest(opened).await;
            }
            self.pause_point().await;
        }
    }

    /// Reads. A pause point, before the request; see
    /// [`begin`](JobContext::begin).
    ///
    /// # Errors
    /// Those of [`Request::read`](block_io::Request::read), and
    /// [`IoError::Cancelled`].
    pub async fn read(
        &mut self,
        from: &JobBackend,
        offset: u64,
        into: Destination<'_>,
    ) -> Result<(), IoError> {
        let in_flight = self.begin(from).await?;
        in_flight.request()?.read(offset, into).await
    }

    /// Writes. A pause point, before the request; see
    /// [`begin`](JobContext::begin).
    ///
    /// # Errors
    /// Those of [`Request::write_with`](block_io::Request::write_with), and
    /// [`IoError::Cancelled`].
    pub async fn write(
        &mut self,
        to: &JobBackend,
        offset: u64,
        from: Source<'_>,
        flags: WriteFlags,
    ) -> Result<(), IoError> {
        let in_flight = self.begin(to).await?;
        in_flight.request()?.write_with(offset, from, flags).await
    }

    /// Writes zeroes. A pause point, before the request; see
    /// [`begin`](JobContext::begin).
    ///
    /// # Errors
    /// Those of [`Request::write_zeroes`](block_io::Request::write_zeroes),
    /// and [`IoError::Cancelled`].
    pub async fn write_zeroes(
        &mut self,
        to: &JobBackend,
        offset: u64,
        bytes: u64,
        flags: WriteFlags,
    ) -> Result<(), IoError> {
        let in_flight = self.begin(to).await?;
        in_flight
            .request()?
            .write_zeroes(offset, bytes, flags)
            .await
    }

    /// Makes earlier writes durable. A pause point, before the request; see
    /// [`begin`](JobContext::begin).
    ///
    /// # Errors
    /// Those of [`Request::flush`](block_io::Request::flush), and
    /// [`IoError::Cancelled`].
    pub async fn flush(&mut self, backend: &JobBackend) -> Result<(), IoError> {
        let in_flight = self.begin(backend).await?;
        in_flight.request()?.flush().await
    }

    /// The length of the node in bytes. A pause point, before the request; see
    /// [`begin`](JobContext::begin).
    ///
    /// # Errors
    /// Those of [`Request::length`](block_io::Request::length), and
    /// [`IoError::Cancelled`].
    pub async fn length(&mut self, backend: &JobBackend) -> Result<u64, IoError> {
        let in_flight = self.begin(backend).await?;
        in_flight.request()?.length().await
    }
}
