//! A job for tests, and short ways to it.

#![allow(dead_code, reason = "each test binary uses another part")]

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use block_drivers::NullCo;
use block_gs::{BqlGuard, Node, Perm};
use block_io::aio::AioContext;
use block_jobs::{
    CreatedJob, Failure, Job, JobBackend, JobBuilder, JobContext, JobDriver, JobError, JobEvent,
    JobRun, JobType, Listener, listen,
};

pub use test_support::in_layer;

pub fn node(bql: &mut BqlGuard, name: &str) -> Node {
    NullCo::new(1 << 20).open(bql, name).expect("opened")
}

/// How a job behaves.
#[derive(Clone, Copy, Default)]
pub struct Plan {
    /// It becomes ready, and ends when told to.
    pub ready: bool,
    /// It ends by itself, with this errno or 0.
    pub ends_with: Option<i32>,
    /// Errno of `start`.
    pub start: i32,
    /// Errno of `prepare`.
    pub prepare: i32,
    /// It knows how to end well when it is cancelled without force.
    pub soft: bool,
}

/// What a job shares with its test.
#[derive(Default)]
pub struct Watch {
    pub complete: AtomicBool,
    pub rounds: AtomicU64,
    /// Rounds in another context than the job's.
    pub strays: AtomicU64,
    pub calls: Mutex<Vec<&'static str>>,
}

impl Watch {
    pub fn calls(&self) -> Vec<&'static str> {
        self.calls.lock().expect("no panic").clone()
    }

    fn call(&self, name: &'static str) {
        self.calls.lock().expect("no panic").push(name);
    }

    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }
}

pub struct TestDriver {
    pub plan: Plan,
    pub watch: Arc<Watch>,
}

pub struct TestRun {
    plan: Plan,
    watch: Arc<Watch>,
    job: Job,
}

fn check(errno: i32) -> Result<(), Failure> {
    match errno {
        0 => Ok(()),
        errno => Err(Failure::from_errno(errno)),
    }
}

impl JobDriver for TestDriver {
    type Run = TestRun;

    fn kind(&self) -> JobType {
        JobType::Stream
    }

    fn start(&self, _bql: &mut BqlGuard, job: &Job) -> Result<TestRun, Failure> {
        self.watch.call("start");
        check(self.plan.start)?;
        Ok(TestRun {
            plan: self.plan,
            watch: Arc::clone(&self.watch),
            job: job.clone(),
        })
    }

    fn prepare(&self, _bql: &mut BqlGuard, _job: &Job) -> Result<(), Failure> {
        self.watch.call("prepare");
        check(self.plan.prepare)
    }

    fn commit(&self, _bql: &mut BqlGuard, _job: &Job) {
        self.watch.call("commit");
    }

    fn abort(&self, _bql: &mut BqlGuard, _job: &Job) {
        self.watch.call("abort");
    }

    fn clean(&self, _bql: &mut BqlGuard, _job: &Job) {
        self.watch.call("clean");
    }

    fn cancel(&self, _bql: &mut BqlGuard, job: &Job, force: bool) -> bool {
        self.watch.call("cancel");
        force || !self.plan.soft || !job.is_ready()
    }

    fn complete(&self, _bql: &mut BqlGuard, job: &Job) -> Result<(), JobError> {
        self.watch.complete.store(true, Ordering::Relaxed);
        job.kick();
        Ok(())
    }

    fn user_resume(&self, _bql: &mut BqlGuard, _job: &Job) {
        self.watch.call("user_resume");
    }

    fn free(&self, _bql: &mut BqlGuard, _job: &Job) {
        self.watch.call("free");
    }
}

impl JobRun for TestRun {
    async fn run(self, job: &mut JobContext<'_>) -> Result<(), Failure> {
        if self.plan.ready {
            job.ready();
        }
        loop {
            self.watch.rounds.fetch_add(1, Ordering::Relaxed);
            if AioContext::current() != Some(self.job.context()) {
                self.watch.strays.fetch_add(1, Ordering::Relaxed);
            }
            if let Some(errno) = self.plan.ends_with {
                return check(errno);
            }
            let told = self.watch.complete.load(Ordering::Relaxed);
            if told || job.is_cancel_requested() {
                return Ok(());
            }
            job.sleep(Duration::from_millis(1)).await;
        }
    }
}

/// A job of this plan that was not started.
pub fn create(bql: &mut BqlGuard, builder: JobBuilder, plan: Plan) -> (CreatedJob, Arc<Watch>) {
    let watch = Arc::new(Watch::default());
    let driver = TestDriver {
        plan,
        watch: Arc::clone(&watch),
    };
    let created = builder.create(bql, driver).expect("created");
    (created, watch)
}

/// A block job over `node` that was not started.
pub fn create_over(
    bql: &mut BqlGuard,
    builder: JobBuilder,
    node: &Node,
    plan: Plan,
) -> Result<(CreatedJob, Arc<Watch>), JobError> {
    let watch = Arc::new(Watch::default());
    let driver = TestDriver {
        plan,
        watch: Arc::clone(&watch),
    };
    let created = builder.create_block_job(bql, node, Perm::empty(), Perm::all(), driver)?;
    Ok((created, watch))
}

/// One that runs.
pub fn start_over(
    bql: &mut BqlGuard,
    builder: JobBuilder,
    node: &Node,
    plan: Plan,
) -> (Job, Arc<Watch>) {
    let (created, watch) = create_over(bql, builder, node, plan).expect("created");
    (created.start(bql).expect("started"), watch)
}

/// Runs the main loop until it is so.
pub fn until(bql: &mut BqlGuard, condition: impl Fn() -> bool) {
    while !condition() {
        bql.run_for(Duration::from_micros(200));
    }
}

/// What the world hears, in short.
pub struct Heard {
    events: Arc<Mutex<Vec<String>>>,
    _listener: Listener,
}

impl Heard {
    pub fn new(bql: &mut BqlGuard) -> Heard {
        let events = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&events);
        let listener = listen(bql, move |_, event| {
            let words = match event {
                JobEvent::StatusChange { id, status } => format!("{id} {status}"),
                JobEvent::Ready(job) => format!("{} READY", job.id),
                JobEvent::Pending { id, .. } => format!("{id} PENDING"),
                JobEvent::Completed { job, error: None } => format!("{} COMPLETED", job.id),
                JobEvent::Completed {
                    job,
                    error: Some(error),
                } => format!("{} COMPLETED {error}", job.id),
                JobEvent::Cancelled(job) => format!("{} CANCELLED", job.id),
                JobEvent::Error {
                    id,
                    operation,
                    action,
                } => format!("{id} ERROR {operation} {action}"),
                _ => "?".to_owned(),
            };
            list.lock().expect("no panic").push(words);
        });
        Heard {
            events,
            _listener: listener,
        }
    }

    /// What was heard since the last time.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.events.lock().expect("no panic"))
    }
}

/// What the code of a [`Script`] returns.
pub type Coming<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 'a>>;

/// Code without I/O.
pub type Code = Box<dyn for<'a, 'j> FnOnce(&'a mut JobContext<'j>) -> Coming<'a> + Send>;

/// Code with a backend.
pub type IoCode =
    Box<dyn for<'a, 'j> FnOnce(&'a mut JobContext<'j>, Arc<JobBackend>) -> Coming<'a> + Send>;

enum Either {
    Plain(Code),
    WithIo(IoCode),
}

/// A job whose code is written in the test.
pub struct Script(Mutex<Option<Either>>);

pub enum ScriptRun {
    Plain(Code),
    WithIo(IoCode, Arc<JobBackend>),
}

impl JobDriver for Script {
    type Run = ScriptRun;

    fn kind(&self) -> JobType {
        JobType::Mirror
    }

    fn start(&self, bql: &mut BqlGuard, job: &Job) -> Result<ScriptRun, Failure> {
        let code = self.0.lock().expect("no panic").take();
        Ok(match code.expect("started once") {
            Either::Plain(code) => ScriptRun::Plain(code),
            Either::WithIo(code) => {
                let perm = Perm::CONSISTENT_READ | Perm::WRITE;
                let node = job.nodes(bql).remove(0);
                let backend = JobBackend::new(bql, job, &node, perm, Perm::all())?;
                ScriptRun::WithIo(code, backend)
            }
        })
    }
}

impl JobRun for ScriptRun {
    async fn run(self, job: &mut JobContext<'_>) -> Result<(), Failure> {
        match self {
            ScriptRun::Plain(code) => code(job).await,
            ScriptRun::WithIo(code, backend) => code(job, backend).await,
        }
    }
}

/// Starts a job whose code this is, over `node`.
pub fn script(bql: &mut BqlGuard, builder: JobBuilder, node: &Node, code: Code) -> Job {
    start_script(bql, builder, node, Either::Plain(code))
}

/// As [`script`], with a backend on `node`.
pub fn script_with_io(bql: &mut BqlGuard, builder: JobBuilder, node: &Node, code: IoCode) -> Job {
    start_script(bql, builder, node, Either::WithIo(code))
}

fn start_script(bql: &mut BqlGuard, builder: JobBuilder, node: &Node, code: Either) -> Job {
    let driver = Script(Mutex::new(Some(code)));
    let created = builder.create_block_job(bql, node, Perm::empty(), Perm::all(), driver);
    created.expect("created").start(bql).expect("started")
}
