//! A job for the scenarios: it works in rounds, and ends as it is told to.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use block_common::error::errno;
use block_gs::{BqlGuard, Node, Perm};
use block_io::aio::AioContext;
use block_jobs::{
    CreatedJob, Failure, JobBuilder, JobContext, JobDriver, JobError, JobRun, JobStatus, JobType,
};

use crate::LATENCY;

/// How the work of a [`Job`] ends, with `EIO` or well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failing {
    /// Well.
    Nothing,
    /// Its code fails.
    Run,
    /// What it does in the main loop afterwards fails.
    Prepare,
}

/// When the code of a [`Job`] ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ends {
    /// When it was told to complete, for which it is ready from the beginning.
    WhenCompleted,
    /// When it was told to complete, for which it is ready after so many
    /// rounds.
    ReadyAfter(u64),
    /// By itself, after so many rounds.
    After(u64),
}

type Prepare = Box<dyn FnOnce(&mut BqlGuard) + Send>;

/// A job whose code does nothing, round after round.
pub struct Job {
    job: block_jobs::Job,
    watch: Arc<Watch>,
}

#[derive(Default)]
struct Watch {
    told_to_complete: AtomicBool,
    rounds: AtomicU64,
    /// Rounds that ran elsewhere than at home.
    strays: AtomicU64,
    outcome: Mutex<Option<i32>>,
}

/// The driver of a [`Job`].
pub struct Rounds {
    watch: Arc<Watch>,
    ends: Ends,
    failing: Failing,
    prepare: Mutex<Option<Prepare>>,
}

/// The code of a [`Job`].
pub struct RoundsRun {
    watch: Arc<Watch>,
    job: block_jobs::Job,
    ends: Ends,
    failing: Failing,
}

impl JobDriver for Rounds {
    type Run = RoundsRun;

    fn kind(&self) -> JobType {
        JobType::Mirror
    }

    fn start(&self, _bql: &mut BqlGuard, job: &block_jobs::Job) -> Result<RoundsRun, Failure> {
        Ok(RoundsRun {
            watch: Arc::clone(&self.watch),
            job: job.clone(),
            ends: self.ends,
            failing: self.failing,
        })
    }

    fn prepare(&self, bql: &mut BqlGuard, _job: &block_jobs::Job) -> Result<(), Failure> {
        let prepare = self.prepare.lock().expect("no panic").take();
        if let Some(prepare) = prepare {
            prepare(bql);
        }
        match self.failing {
            Failing::Prepare => Err(Failure::from_errno(errno::EIO)),
            _ => Ok(()),
        }
    }

    fn complete(&self, _bql: &mut BqlGuard, job: &block_jobs::Job) -> Result<(), JobError> {
        self.watch.told_to_complete.store(true, Ordering::Relaxed);
        job.kick();
        Ok(())
    }
}

impl JobRun for RoundsRun {
    async fn run(self, job: &mut JobContext<'_>) -> Result<(), Failure> {
        let ready_after = match self.ends {
            Ends::WhenCompleted => Some(0),
            Ends::ReadyAfter(rounds) => Some(rounds),
            Ends::After(_) => None,
        };
        for round in 0.. {
            if ready_after == Some(round) {
                job.ready();
            }
            let told = self.watch.told_to_complete.load(Ordering::Relaxed);
            if told || self.ends == Ends::After(round) || job.is_cancelled() {
                break;
            }
            if AioContext::current() != Some(self.job.context()) {
                self.watch.strays.fetch_add(1, Ordering::Relaxed);
            }
            self.watch.rounds.fetch_add(1, Ordering::Relaxed);
            job.sleep(LATENCY).await;
        }
        match self.failing {
            Failing::Run => Err(Failure::from_errno(errno::EIO)),
            _ => Ok(()),
        }
    }
}

impl Job {
    /// Makes one over `nodes`, of which it asks nothing. `prepare` runs in the
    /// main loop after its code, unless that fails.
    ///
    /// # Errors
    /// Those of [`JobBuilder::create_block_job`].
    pub fn create(
        bql: &mut BqlGuard,
        builder: JobBuilder,
        nodes: &[&Node],
        ends: Ends,
        failing: Failing,
        prepare: impl FnOnce(&mut BqlGuard) + Send + 'static,
    ) -> Result<(CreatedJob, Job), JobError> {
        let watch = Arc::new(Watch::default());
        let driver = Rounds {
            watch: Arc::clone(&watch),
            ends,
            failing,
            prepare: Mutex::new(Some(Box::new(prepare))),
        };
        let noted = Arc::clone(&watch);
        let builder = builder.on_end(move |_, end| {
            let outcome = end.map_or_else(|failure| failure.errno(), |()| 0);
            *noted.outcome.lock().expect("no panic") = Some(outcome);
        });
        let (first, others) = nodes.split_first().expect("a node");
        let (nothing, all) = (Perm::empty(), Perm::all());
        let created = builder.create_block_job(bql, first, nothing, all, driver)?;
        for node in others {
            created.job().add_node(bql, "node", node, nothing, all)?;
        }
        let job = created.job().clone();
        Ok((created, Job { job, watch }))
    }

    /// Starts one over `nodes`, which is ready and ends when told to.
    pub fn start(
        bql: &mut BqlGuard,
        nodes: &[&Node],
        failing: Failing,
        prepare: impl FnOnce(&mut BqlGuard) + Send + 'static,
    ) -> Job {
        let builder = JobBuilder::new().id("job0");
        let ends = Ends::WhenCompleted;
        let made = Job::create(bql, builder, nodes, ends, failing, prepare);
        let (created, job) = made.expect("it asks for nothing");
        created.start(bql).expect("it has nothing to prepare");
        job.wait_for_rounds(bql, 1);
        job
    }

    /// The job itself.
    pub fn job(&self) -> &block_jobs::Job {
        &self.job
    }

    /// Its state.
    pub fn status(&self) -> JobStatus {
        self.job.status()
    }

    /// Reasons to pause (`job->pause_count`).
    pub fn pause_count(&self) -> u32 {
        self.job.pause_count()
    }

    /// Whether its code stands still (`job->paused`, and not `job->busy`).
    pub fn is_paused(&self) -> bool {
        self.job.is_paused() && !self.job.is_busy()
    }

    /// Where its code runs (`job->aio_context`).
    pub fn context(&self) -> AioContext {
        self.job.context()
    }

    /// How many rounds have run elsewhere.
    pub fn strays(&self) -> u64 {
        self.watch.strays.load(Ordering::Relaxed)
    }

    /// What came out, 0 or an errno, if it has ended.
    pub fn outcome(&self) -> Option<i32> {
        *self.watch.outcome.lock().expect("no panic")
    }

    fn rounds(&self) -> u64 {
        self.watch.rounds.load(Ordering::Relaxed)
    }

    /// Runs the main loop until `rounds` more have been run.
    pub fn wait_for_rounds(&self, bql: &mut BqlGuard, rounds: u64) {
        let enough = self.rounds() + rounds;
        while self.rounds() < enough {
            bql.run_for(Duration::from_micros(100));
        }
    }

    /// Runs the main loop until it is in this state.
    pub fn wait_for(&self, bql: &mut BqlGuard, status: JobStatus) {
        bql.poll_until(|_| self.status() == status);
    }

    /// Runs the main loop until the code goes on.
    pub fn wait_until_resumed(&self, bql: &mut BqlGuard) {
        bql.poll_until(|_| !self.is_paused());
    }

    /// Tells it to complete (`job_complete`).
    pub fn tell_to_complete(&self, bql: &mut BqlGuard) {
        self.job.complete(bql).expect("it is ready");
    }

    /// Tells it to complete, and waits until it has: 0 or an errno
    /// (`job_complete_sync`).
    pub fn complete(&self, bql: &mut BqlGuard) -> i32 {
        self.tell_to_complete(bql);
        bql.poll_until(|_| self.outcome().is_some());
        self.outcome().expect("it has ended")
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.job)
    }
}
