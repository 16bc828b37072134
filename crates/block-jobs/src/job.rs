//! Jobs, and what users ask of them.

use std::fmt;
use std::sync::Arc;

use block_gs::{BqlCell, BqlGuard, EdgeId, Node, Parent};
use block_io::aio::AioContext;

use crate::completion;
use crate::driver::AnyDriver;
use crate::engine::Cancel;
use crate::shared::Shared;
use crate::transaction::Group;
use crate::{
    BlockJobInfo, Failure, IoStatus, JobChange, JobError, JobInfo, JobStatus, JobType, JobVerb,
    Progress,
};

/// A job (`Job`, `BlockJob`).
///
/// `Send + Sync`, cloned and dropped anywhere, and harmless to keep: of a job
/// that is gone it says so. What only looks takes no proof; what asks
/// something of the job takes `&mut BqlGuard`, because a job that ends may
/// change the graph.
#[derive(Clone)]
pub struct Job(pub(crate) Arc<Core>);

pub(crate) struct Core {
    pub shared: Arc<Shared>,
    pub driver: Arc<dyn AnyDriver>,
    pub auto_finalize: bool,
    pub auto_dismiss: bool,
    pub main: BqlCell<MainState>,
}

pub(crate) type OnEnd = Box<dyn FnOnce(&mut BqlGuard, Result<(), Failure>) + Send>;

/// What only the main loop knows of a job.
pub(crate) struct MainState {
    /// Its code runs, or has run.
    pub started: bool,
    /// Why it has failed (`job->ret`, `job->err`).
    pub failure: Option<Failure>,
    /// Those that end with it.
    pub group: Option<Arc<Group>>,
    /// Of a block job, until it is gone.
    pub holder: Option<Arc<Parent>>,
    pub edges: Vec<(EdgeId, Node)>,
    pub on_end: Option<OnEnd>,
    /// It is being finalized, or was.
    pub ending: bool,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Job({}, {})", self.name(), self.status())
    }
}

impl PartialEq for Job {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Job {}

/// What everybody may know.
impl Job {
    pub(crate) fn shared(&self) -> &Shared {
        &self.0.shared
    }

    /// The id, or `None` for an internal job.
    pub fn id(&self) -> Option<&str> {
        self.shared().id.as_deref()
    }

    /// The id; empty for an internal job.
    pub fn name(&self) -> &str {
        self.shared().id()
    }

    /// What it does (`job_type`).
    pub fn kind(&self) -> JobType {
        self.shared().kind
    }

    /// Whether it was made for nodes, and `query-block-jobs` shows it.
    pub fn is_block_job(&self) -> bool {
        self.shared().is_block_job
    }

    /// Whether nobody outside is to see it (`job_is_internal`).
    pub fn is_internal(&self) -> bool {
        self.id().is_none()
    }

    /// Its state at this moment.
    pub fn status(&self) -> JobStatus {
        self.shared().engine.status()
    }

    /// Whether it can be told to complete (`job_is_ready`).
    pub fn is_ready(&self) -> bool {
        self.status().is_ready()
    }

    /// Whether its code has ended and the main loop has seen that
    /// (`job_is_completed`).
    pub fn is_completed(&self) -> bool {
        self.status().is_completed()
    }

    /// Whether its code rests in a pause (`job_is_paused`).
    pub fn is_paused(&self) -> bool {
        matches!(self.status(), JobStatus::Paused | JobStatus::Standby)
    }

    /// Whether its code runs, or could; not while it sleeps (`job->busy`).
    pub fn is_busy(&self) -> bool {
        self.shared().engine.is_busy()
    }

    /// How many reasons to pause there are: the user, each edge to a node
    /// that is drained, and that it was not started (`job->pause_count`).
    pub fn pause_count(&self) -> u32 {
        self.shared().engine.pause_count()
    }

    /// Whether the user has paused it (`job_user_paused`).
    pub fn is_user_paused(&self) -> bool {
        self.shared().engine.is_user_paused()
    }

    /// Whether it is cancelled by force (`job_is_cancelled`).
    pub fn is_cancelled(&self) -> bool {
        self.shared().engine.is_cancelled()
    }

    /// Whether somebody wants it to end early (`job_cancel_requested`).
    pub fn is_cancel_requested(&self) -> bool {
        self.shared().engine.cancel_state() > Cancel::No
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        self.shared().progress()
    }

    /// Its speed in bytes a second; 0 for no limit.
    pub fn speed(&self) -> i64 {
        self.shared().speed()
    }

    /// Whether a request has failed (`iostatus`).
    pub fn io_status(&self) -> IoStatus {
        self.shared().io_status()
    }

    /// Forgets that a request has failed (`block_job_iostatus_reset`).
    pub fn reset_io_status(&self, _bql: &BqlGuard) {
        self.shared().reset_io_status();
    }

    /// Where its code runs at this moment (`block_job_get_aio_context`).
    pub fn context(&self) -> AioContext {
        self.shared().home.context()
    }

    /// Ends its code's rest, the present one or the next, so that it looks
    /// what there is to do (`job_enter`). It does not end a pause.
    pub fn kick(&self) {
        self.shared().engine.kick();
    }

    /// Pauses it until the [`PauseHold`] is dropped (`job_pause`, `job_resume`).
    /// Waits for nothing.
    pub fn pause(&self) -> PauseHold {
        self.shared().engine.pause();
        PauseHold(self.clone())
    }
}

/// One reason for a job to pause: see [`Job::pause`].
#[must_use = "the job goes on when this is dropped"]
#[derive(Debug)]
pub struct PauseHold(Job);

impl Drop for PauseHold {
    fn drop(&mut self) {
        self.0.shared().engine.resume();
    }
}

/// What users ask of it.
impl Job {
    fn check(&self, verb: JobVerb) -> Result<(), JobError> {
        let status = self.status();
        if status.allows(verb) {
            return Ok(());
        }
        Err(JobError::WrongState {
            id: self.name().to_owned(),
            status,
            verb,
        })
    }

    /// Pauses it in the user's name (`job_user_pause`). It pauses at its next
    /// pause point, of which an event tells.
    ///
    /// # Errors
    /// [`JobError::WrongState`], [`JobError::AlreadyPaused`].
    pub fn user_pause(&self, _bql: &mut BqlGuard) -> Result<(), JobError> {
        self.check(JobVerb::Pause)?;
        if !self.shared().engine.pause_for_user() {
            return Err(JobError::AlreadyPaused);
        }
        Ok(())
    }

    /// Lets it go on in the user's name (`job_user_resume`).
    ///
    /// # Errors
    /// [`JobError::NotPaused`], [`JobError::WrongState`].
    pub fn user_resume(&self, bql: &mut BqlGuard) -> Result<(), JobError> {
        if !self.is_user_paused() {
            return Err(JobError::NotPaused);
        }
        self.check(JobVerb::Resume)?;
        self.lift_user_pause(bql);
        Ok(())
    }

    pub(crate) fn lift_user_pause(&self, bql: &mut BqlGuard) {
        if !self.is_user_paused() {
            return;
        }
        self.shared().reset_io_status();
        self.0.driver.user_resume(bql, self);
        self.shared().engine.resume_for_user();
    }

    /// Cancels it in the user's name (`job-cancel` with `force`,
    /// `block-job-cancel` with and without; `job_user_cancel`). By force
    /// nothing of it stays. Otherwise a job that is ready ends as it is, and
    /// one whose driver knows no better ends by force after all. Waits for
    /// nothing but the end of a job that was not started, or whose code has
    /// ended. Once the outcome of its transaction is being made to last it
    /// comes too late, and nothing happens.
    ///
    /// # Errors
    /// [`JobError::WrongState`]; [`JobError::Paused`] without `force` when
    /// the user has paused it.
    pub fn cancel(&self, bql: &mut BqlGuard, force: bool) -> Result<(), JobError> {
        if self.is_user_paused() && !force {
            return Err(JobError::Paused(self.name().to_owned()));
        }
        self.check(JobVerb::Cancel)?;
        completion::cancel(bql, self, force);
        Ok(())
    }

    /// Tells a job that is ready to complete (`job_complete`).
    ///
    /// # Errors
    /// [`JobError::WrongState`]; [`JobError::CannotComplete`] when it was
    /// cancelled, or ends by itself; what its driver answers.
    pub fn complete(&self, bql: &mut BqlGuard) -> Result<(), JobError> {
        self.check(JobVerb::Complete)?;
        if self.is_cancel_requested() {
            return Err(JobError::CannotComplete(self.name().to_owned()));
        }
        self.0.driver.complete(bql, self)
    }

    /// Makes the outcome of its transaction last (`job_finalize`). May poll.
    ///
    /// # Errors
    /// [`JobError::WrongState`]. That something fails now is told by an
    /// event.
    pub fn finalize(&self, bql: &mut BqlGuard) -> Result<(), JobError> {
        self.check(JobVerb::Finalize)?;
        completion::finalize(bql, self);
        Ok(())
    }

    /// Forgets a job that is over (`job_dismiss`). Its nodes are let go.
    ///
    /// # Errors
    /// [`JobError::WrongState`].
    pub fn dismiss(&self, bql: &mut BqlGuard) -> Result<(), JobError> {
        self.check(JobVerb::Dismiss)?;
        completion::dismiss(bql, self);
        Ok(())
    }

    /// Sets its speed in bytes a second, counted in slices of 100 ms; 0 for no
    /// limit (`block_job_set_speed`).
    ///
    /// # Errors
    /// [`JobError::WrongState`], [`JobError::NegativeSpeed`].
    pub fn set_speed(&self, bql: &mut BqlGuard, speed: i64) -> Result<(), JobError> {
        self.check(JobVerb::SetSpeed)?;
        if speed < 0 {
            return Err(JobError::NegativeSpeed);
        }
        let old = self.shared().set_speed(speed);
        self.0.driver.set_speed(bql, self, speed);
        let is_slower = speed != 0 && speed <= old;
        if !is_slower {
            // It may sleep for longer than it has to now.
            self.kick();
        }
        Ok(())
    }

    /// Changes how it goes on (`block_job_change`).
    ///
    /// # Errors
    /// [`JobError::WrongState`], [`JobError::ChangeNotSupported`], what its
    /// driver answers.
    pub fn change(&self, bql: &mut BqlGuard, change: JobChange) -> Result<(), JobError> {
        self.check(JobVerb::Change)?;
        self.0.driver.change(bql, self, change)
    }

    /// What `query-jobs` answers for it.
    ///
    /// # Errors
    /// [`JobError::QueryOfInternalJob`].
    pub fn info(&self, bql: &BqlGuard) -> Result<JobInfo, JobError> {
        Ok(JobInfo {
            id: self.visible_id()?,
            kind: self.kind(),
            status: self.status(),
            progress: self.progress(),
            error: self.error(bql),
        })
    }

    /// What `query-block-jobs` answers for it (`block_job_query`).
    ///
    /// # Errors
    /// [`JobError::QueryOfInternalJob`].
    pub fn block_job_info(&self, bql: &BqlGuard) -> Result<BlockJobInfo, JobError> {
        let mut info = BlockJobInfo {
            kind: self.kind(),
            device: self.visible_id()?,
            progress: self.progress(),
            busy: self.is_busy(),
            paused: self.pause_count() > 0,
            speed: self.speed(),
            io_status: self.io_status(),
            ready: self.is_ready(),
            status: self.status(),
            auto_finalize: self.0.auto_finalize,
            auto_dismiss: self.0.auto_dismiss,
            error: self.error(bql),
            actively_synced: None,
        };
        self.0.driver.query(bql, &mut info);
        Ok(info)
    }

    fn visible_id(&self) -> Result<String, JobError> {
        let id = self.id().ok_or(JobError::QueryOfInternalJob)?;
        Ok(id.to_owned())
    }

    fn error(&self, bql: &BqlGuard) -> Option<String> {
        self.failure(bql).map(|failure| failure.to_string())
    }

    /// Why it has failed, if it has.
    pub fn failure<'b>(&'b self, bql: &'b BqlGuard) -> Option<&'b Failure> {
        self.0.main.get(bql).failure.as_ref()
    }

    /// Its outcome so far.
    pub(crate) fn outcome(&self, bql: &BqlGuard) -> Result<(), Failure> {
        self.failure(bql).cloned().map_or(Ok(()), Err)
    }

    pub(crate) fn main<'b>(&'b self, bql: &'b mut BqlGuard) -> &'b mut MainState {
        self.0.main.get_mut(bql)
    }
}

/// Waiting for it.
impl Job {
    /// Runs the main loop until its code has ended, and that of whatever its
    /// transaction waits for if it has failed (`job_finish_sync`). Returns
    /// how it ended. A job that the user has paused goes on: whoever waits
    /// wants its end.
    ///
    /// # Errors
    /// Why it failed.
    pub fn wait(&self, bql: &mut BqlGuard) -> Result<(), Failure> {
        self.lift_user_pause(bql);
        self.kick();
        bql.poll_until(|_| self.is_completed());
        let outcome = self.outcome(bql);
        if outcome.is_ok() && self.is_cancelled() {
            return Err(Failure::cancelled());
        }
        outcome
    }

    /// Cancels it and waits (`job_cancel_sync`). One that is over is
    /// dismissed.
    ///
    /// # Errors
    /// As [`wait`](Job::wait): that it was cancelled, mostly.
    pub fn cancel_sync(&self, bql: &mut BqlGuard, force: bool) -> Result<(), Failure> {
        completion::cancel(bql, self, force);
        self.wait(bql)
    }

    /// [Completes](Job::complete) it and waits (`job_complete_sync`).
    ///
    /// # Errors
    /// As [`complete`](Job::complete); [`JobError::Failed`] with why it
    /// failed.
    pub fn complete_sync(&self, bql: &mut BqlGuard) -> Result<(), JobError> {
        self.complete(bql)?;
        Ok(self.wait(bql)?)
    }
}

impl MainState {
    /// Whether the end of this job is only now beginning.
    pub(crate) fn begin_end(&mut self) -> bool {
        !std::mem::replace(&mut self.ending, true)
    }
}
