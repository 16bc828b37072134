//! What a type of job consists of: a half in the main loop, and code.

use std::future::Future;
use std::pin::Pin;

use block_gs::BqlGuard;

use crate::{BlockJobInfo, Failure, Job, JobChange, JobContext, JobError, JobType};

/// The half of a type of job that works in the main loop (`JobDriver` and
/// `BlockJobDriver` without `run`).
///
/// Its methods have the guard. They borrow the driver shared, because they may
/// poll, and what runs then may ask something else of the same job; what they
/// change is in a [`BqlCell`](block_gs::BqlCell).
///
/// [`start`](JobDriver::start) makes the other half, the code of the job. So
/// there is no code to run before it: what needs the graph, permissions, a
/// longer image, is done there, and the code gets what came of it.
///
/// Of a job that was created, either [`commit`](JobDriver::commit) or
/// [`abort`](JobDriver::abort) is called, then [`clean`](JobDriver::clean),
/// and in the end [`free`](JobDriver::free). The exception is one that is
/// dismissed as it was created.
pub trait JobDriver: Send + Sync + 'static {
    /// The code.
    type Run: JobRun;

    /// What the job does (`job_type`).
    fn kind(&self) -> JobType;

    /// Prepares what needs the main loop and makes the code (`pre_run`). May
    /// poll.
    ///
    /// # Errors
    /// The job has failed, and has not been started.
    fn start(&self, bql: &mut BqlGuard, job: &Job) -> Result<Self::Run, Failure>;

    /// The code has ended well, and that of all jobs of the transaction: does
    /// what is left and may fail. May poll.
    ///
    /// # Errors
    /// The job has failed, and with it its transaction.
    fn prepare(&self, _bql: &mut BqlGuard, _job: &Job) -> Result<(), Failure> {
        Ok(())
    }

    /// All of the transaction has gone well: makes it last. May poll.
    fn commit(&self, _bql: &mut BqlGuard, _job: &Job) {}

    /// The job has failed, or another of its transaction: undoes what was
    /// done. May poll.
    fn abort(&self, _bql: &mut BqlGuard, _job: &Job) {}

    /// After [`commit`](JobDriver::commit) or [`abort`](JobDriver::abort):
    /// lets go of what the code needed. May poll.
    fn clean(&self, _bql: &mut BqlGuard, _job: &Job) {}

    /// Somebody cancels the job; `force` if nothing of it is to stay. Returns
    /// whether it is cancelled by force after all; a driver that returns
    /// `false` ends its code well. May be called more than once, and when the
    /// code has ended.
    fn cancel(&self, _bql: &mut BqlGuard, _job: &Job, _force: bool) -> bool {
        true
    }

    /// Somebody wants a job that is ready to end. The code is to hear of it;
    /// [`Job::kick`] wakes it.
    ///
    /// # Errors
    /// [`JobError::CannotComplete`] unless the driver knows how.
    fn complete(&self, _bql: &mut BqlGuard, job: &Job) -> Result<(), JobError> {
        Err(JobError::CannotComplete(job.name().to_owned()))
    }

    /// The user lets the job go on.
    fn user_resume(&self, _bql: &mut BqlGuard, _job: &Job) {}

    /// The block job has another speed, or its first, in bytes a second; 0 for
    /// no limit. Its [`JobContext::throttle`] knows already.
    fn set_speed(&self, _bql: &mut BqlGuard, _job: &Job, _speed: i64) {}

    /// Changes how the job goes on.
    ///
    /// # Errors
    /// [`JobError::ChangeNotSupported`] unless the driver knows how.
    fn change(&self, _bql: &mut BqlGuard, _job: &Job, _change: JobChange) -> Result<(), JobError> {
        Err(JobError::ChangeNotSupported)
    }

    /// Adds to what the job tells about itself.
    fn query(&self, _bql: &BqlGuard, _info: &mut BlockJobInfo) {}

    /// The job is gone; its nodes go next. May poll.
    fn free(&self, _bql: &mut BqlGuard, _job: &Job) {}
}

/// The code of a job (`JobDriver.run`), made by [`JobDriver::start`].
///
/// It runs once, in the job's AioContext, which may change whenever it pauses;
/// on one thread at a time. It has no guard and cannot get one: what it wants
/// of the graph it has done by [`JobContext::main_loop`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the code of a job",
    label = "has no `run`",
    note = "the code is what `JobDriver::start` returns, with the guard; \
            `CreatedJob::start` calls that and runs it"
)]
pub trait JobRun: Send + 'static {
    /// Runs the job to its end. `job` is the job as its code sees it, and the
    /// only way to pause, sleep and do I/O.
    ///
    /// # Errors
    /// The job has failed.
    fn run(self, job: &mut JobContext<'_>) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// What is to be done around each pause of a job's code (`JobDriver.pause`
/// and `resume`), on the thread of the code: see
/// [`JobContext::set_pause_hooks`].
pub trait PauseHooks: Send {
    /// Brings whatever goes on beside the code to rest.
    fn pause(&mut self) -> HookFuture<'_> {
        Box::pin(async {})
    }

    /// Lets it go on.
    fn resume(&mut self) -> HookFuture<'_> {
        Box::pin(async {})
    }
}

/// What [`PauseHooks`] do.
pub type HookFuture<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

type Code<'j> = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 'j>>;

/// Code of any type.
pub(crate) trait AnyRun: Send {
    fn run<'j, 'c: 'j>(self: Box<Self>, job: &'j mut JobContext<'c>) -> Code<'j>;
}

impl<R: JobRun> AnyRun for R {
    fn run<'j, 'c: 'j>(self: Box<Self>, job: &'j mut JobContext<'c>) -> Code<'j> {
        Box::pin((*self).run(job))
    }
}

/// A driver of any type.
pub(crate) trait AnyDriver: Send + Sync {
    fn start(&self, bql: &mut BqlGuard, job: &Job) -> Result<Box<dyn AnyRun>, Failure>;
    fn prepare(&self, bql: &mut BqlGuard, job: &Job) -> Result<(), Failure>;
    fn commit(&self, bql: &mut BqlGuard, job: &Job);
    fn abort(&self, bql: &mut BqlGuard, job: &Job);
    fn clean(&self, bql: &mut BqlGuard, job: &Job);
    fn cancel(&self, bql: &mut BqlGuard, job: &Job, force: bool) -> bool;
    fn complete(&self, bql: &mut BqlGuard, job: &Job) -> Result<(), JobError>;
    fn user_resume(&self, bql: &mut BqlGuard, job: &Job);
    fn set_speed(&self, bql: &mut BqlGuard, job: &Job, speed: i64);
    fn change(&self, bql: &mut BqlGuard, job: &Job, change: JobChange) -> Result<(), JobError>;
    fn query(&self, bql: &BqlGuard, info: &mut BlockJobInfo);
    fn free(&self, bql: &mut BqlGuard, job: &Job);
}

impl<D: JobDriver> AnyDriver for D {
    fn start(&self, bql: &mut BqlGuard, job: &Job) -> Result<Box<dyn AnyRun>, Failure> {
        let run = JobDriver::start(self, bql, job)?;
        Ok(Box::new(run))
    }

    fn prepare(&self, bql: &mut BqlGuard, job: &Job) -> Result<(), Failure> {
        JobDriver::prepare(self, bql, job)
    }

    fn commit(&self, bql: &mut BqlGuard, job: &Job) {
        JobDriver::commit(self, bql, job);
    }

    fn abort(&self, bql: &mut BqlGuard, job: &Job) {
        JobDriver::abort(self, bql, job);
    }

    fn clean(&self, bql: &mut BqlGuard, job: &Job) {
        JobDriver::clean(self, bql, job);
    }

    fn cancel(&self, bql: &mut BqlGuard, job: &Job, force: bool) -> bool {
        JobDriver::cancel(self, bql, job, force)
    }

    fn complete(&self, bql: &mut BqlGuard, job: &Job) -> Result<(), JobError> {
        JobDriver::complete(self, bql, job)
    }

    fn user_resume(&self, bql: &mut BqlGuard, job: &Job) {
        JobDriver::user_resume(self, bql, job);
    }

    fn set_speed(&self, bql: &mut BqlGuard, job: &Job, speed: i64) {
        JobDriver::set_speed(self, bql, job, speed);
    }

    fn change(&self, bql: &mut BqlGuard, job: &Job, change: JobChange) -> Result<(), JobError> {
        JobDriver::change(self, bql, job, change)
    }

    fn query(&self, bql: &BqlGuard, info: &mut BlockJobInfo) {
        JobDriver::query(self, bql, info);
    }

    fn free(&self, bql: &mut BqlGuard, job: &Job) {
        JobDriver::free(self, bql, job);
    }
}
