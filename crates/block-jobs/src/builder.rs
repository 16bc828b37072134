//! Making jobs, and starting them.

use std::fmt;
use std::sync::Arc;

use block_common::ParentDescription;
use block_common::names::is_well_formed;
use block_gs::{BqlCell, BqlGuard, Node, Parent, Perm};
use block_io::aio::AioContext;

use crate::completion;
use crate::job::{Core, MainState, OnEnd};
use crate::registry::{self, Registry};
use crate::shared::{Holder, Shared};
use crate::transaction::Group;
use crate::{Failure, Job, JobDriver, JobError, JobStatus, JobTransaction, context};

/// What a job is called, and how it ends (`job_create`, `block_job_create`).
///
/// ```
/// use block_jobs::JobBuilder;
///
/// let builder = JobBuilder::new().id("backup0").manual_dismiss();
/// ```
#[derive(Default)]
#[must_use = "this only says how; `create` or `create_block_job` makes the job"]
pub struct JobBuilder {
    id: Option<String>,
    internal: bool,
    manual_finalize: bool,
    manual_dismiss: bool,
    transaction: Option<JobTransaction>,
    speed: i64,
    on_end: Option<OnEnd>,
}

impl fmt::Debug for JobBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobBuilder")
            .field("id", &self.id)
            .field("internal", &self.internal)
            .field("manual_finalize", &self.manual_finalize)
            .field("manual_dismiss", &self.manual_dismiss)
            .field("transaction", &self.transaction)
            .field("speed", &self.speed)
            .finish_non_exhaustive()
    }
}

impl JobBuilder {
    /// A job that ends, and is forgotten, by itself. A block job is called
    /// as the device above its node, others need an [`id`](JobBuilder::id).
    pub fn new() -> Self {
        JobBuilder::default()
    }

    /// What users call it.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Nobody outside is to see it: it has no id and sends no events
    /// (`JOB_INTERNAL`).
    pub fn internal(mut self) -> Self {
        self.internal = true;
        self
    }

    /// Its outcome lasts only when somebody [finalizes](Job::finalize) it
    /// (`JOB_MANUAL_FINALIZE`).
    pub fn manual_finalize(mut self) -> Self {
        self.manual_finalize = true;
        self
    }

    /// It is there until somebody [dismisses](Job::dismiss) it
    /// (`JOB_MANUAL_DISMISS`).
    pub fn manual_dismiss(mut self) -> Self {
        self.manual_dismiss = true;
        self
    }

    /// It ends with the others of `transaction`.
    pub fn transaction(mut self, transaction: &JobTransaction) -> Self {
        self.transaction = Some(transaction.clone());
        self
    }

    /// Its speed at first, in bytes a second; 0, no limit, unless set.
    pub fn speed(mut self, speed: i64) -> Self {
        self.speed = speed;
        self
    }

    /// Is called in the main loop with how it ended, after its driver was and
    /// before the event that tells so (`BlockCompletionFunc`).
    pub fn on_end(
        mut self,
        on_end: impl FnOnce(&mut BqlGuard, Result<(), Failure>) + Send + 'static,
    ) -> Self {
        self.on_end = Some(Box::new(on_end));
        self
    }

    /// Makes a job that holds no nodes, whose code runs in the main loop's
    /// context (`job_create`).
    ///
    /// # Errors
    /// Those of its id: [`JobError::IdRequired`], [`JobError::InvalidId`],
    /// [`JobError::IdInUse`], [`JobError::IdOfInternalJob`]; and
    /// [`JobError::NegativeSpeed`].
    pub fn create<D: JobDriver>(
        mut self,
        bql: &mut BqlGuard,
        driver: D,
    ) -> Result<CreatedJob, JobError> {
        let id = self.id.take();
        self.check_id(bql, id.as_deref())?;
        let context = bql.context().clone();
        self.make(bql, id, context, false, driver)
    }

    /// Makes a block job that holds `node`, as `main node`, and runs in its
    /// context (`block_job_create`). `perm` and `shared` are as for
    /// [`Job::add_node`].
    ///
    /// # Errors
    /// As [`create`](JobBuilder::create); [`JobError::Graph`] when the node
    /// refuses.
    pub fn create_block_job<D: JobDriver>(
        mut self,
        bql: &mut BqlGuard,
        node: &Node,
        perm: Perm,
        shared: Perm,
        driver: D,
    ) -> Result<CreatedJob, JobError> {
        let mut id = self.id.take();
        if id.is_none() && !self.internal {
            id = Some(device_name(bql, node));
        }
        self.check_id(bql, id.as_deref())?;
        let speed = self.speed;
        let created = self.make(bql, id, node.io().context(), true, driver)?;
        let job = &created.job;
        if let Err(error) = job.add_node(bql, "main node", node, perm, shared) {
            created.discard(bql);
            return Err(error);
        }
        job.0.driver.set_speed(bql, job, speed);
        Ok(created)
    }

    fn check_id(&self, bql: &BqlGuard, id: Option<&str>) -> Result<(), JobError> {
        match id {
            Some(_) if self.internal => Err(JobError::IdOfInternalJob),
            Some(id) if !is_well_formed(id) => Err(JobError::InvalidId(id.to_owned())),
            Some(id) if registry::find(bql, id).is_ok() => Err(JobError::IdInUse(id.to_owned())),
            None if !self.internal => Err(JobError::IdRequired),
            _ => Ok(()),
        }
    }

    fn make<D: JobDriver>(
        self,
        bql: &mut BqlGuard,
        id: Option<String>,
        context: AioContext,
        is_block_job: bool,
        driver: D,
    ) -> Result<CreatedJob, JobError> {
        if self.speed < 0 {
            return Err(JobError::NegativeSpeed);
        }
        let events = registry::events(bql);
        let kind = driver.kind();
        let main = bql.main_loop();
        let shared = Shared::new(id, kind, is_block_job, context, main, events);
        let shared = Arc::new(shared);
        shared.set_speed(self.speed);
        let holder = is_block_job.then(|| {
            let class = Arc::new(Holder(Arc::clone(&shared)));
            Arc::new(Parent::new(bql, class))
        });
        let alone = || JobTransaction::new(bql);
        let transaction = self.transaction.unwrap_or_else(alone);
        let group: Arc<Group> = transaction.0;
        let state = MainState {
            started: false,
            failure: None,
            group: Some(Arc::clone(&group)),
            holder,
            edges: Vec::new(),
            on_end: self.on_end,
            ending: false,
        };
        let job = Job(Arc::new(Core {
            shared,
            driver: Arc::new(driver),
            auto_finalize: !self.manual_finalize,
            auto_dismiss: !self.manual_dismiss,
            main: BqlCell::new(bql, state),
        }));
        completion::transition(bql, &job, JobStatus::Created);
        bql.extension_mut::<Registry>().insert(job.clone());
        group.add(bql, &job);
        Ok(CreatedJob {
            job,
            started: false,
        })
    }
}

/// The name of the device above the node, empty if there is none
/// (`bdrv_get_device_name`).
fn device_name(bql: &BqlGuard, node: &Node) -> String {
    let mut parents = node.view(bql).parents();
    let name = parents.find_map(|edge| match edge.parent() {
        ParentDescription::Backend(name) if !name.is_empty() => Some(name),
        _ => None,
    });
    name.unwrap_or_default()
}

/// A job that was created and not started: the right to
/// [`start`](CreatedJob::start) it, once.
///
/// Users see the job already, and may pause or cancel it. Dropping this
/// without starting it takes the job away.
#[must_use = "the job goes unless it is started"]
#[derive(Debug)]
pub struct CreatedJob {
    job: Job,
    started: bool,
}

impl CreatedJob {
    /// The job.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// Takes the job away, which was never started (`job_early_fail`).
    pub fn discard(mut self, bql: &mut BqlGuard) {
        self.started = true;
        if self.job.status() == JobStatus::Created {
            completion::dismiss(bql, &self.job);
        }
    }

    /// Has the driver [make](JobDriver::start) the job's code, and starts that
    /// (`job_start`). It first runs when the loop of its context next turns.
    ///
    /// # Errors
    /// [`JobError::NotStartable`] when it was cancelled meanwhile;
    /// [`JobError::Failed`] when the driver refuses: the job has failed then,
    /// and with it its transaction.
    pub fn start(mut self, bql: &mut BqlGuard) -> Result<Job, JobError> {
        self.started = true;
        let job = &self.job;
        let not_startable = || Err(JobError::NotStartable(job.name().to_owned()));
        if job.status() != JobStatus::Created {
            return not_startable();
        }
        let code = match job.0.driver.start(bql, job) {
            Ok(code) => code,
            Err(failure) => {
                completion::fail_start(bql, job, failure.clone());
                return Err(failure.into());
            }
        };
        // The driver may have polled.
        let shared = job.shared();
        if !shared.engine.start(|status| shared.note(status)) {
            return not_startable();
        }
        job.main(bql).started = true;
        shared.events.deliver(bql);
        let task = shared.home.spawn(context::run(job.clone(), code));
        task.detach();
        Ok(job.clone())
    }
}

impl Drop for CreatedJob {
    fn drop(&mut self) {
        if self.started {
            return;
        }
        // Whoever made it could not go on.
        let job = self.job.clone();
        let main = &self.job.shared().main;
        main.schedule(move |bql| {
            if job.status() == JobStatus::Created {
                completion::dismiss(bql, &job);
            }
        });
    }
}
