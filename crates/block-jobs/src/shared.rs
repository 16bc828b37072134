//! What a job's code, the graph and the main loop know of a job.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;
use std::time::{Duration, Instant};

use block_common::sync::Mutex;
use block_gs::{BqlGuard, EdgeParent, GraphError, MainLoop};
use block_io::aio::{AioContext, Home};

use crate::engine::{Engine, Tell};
use crate::event::{BlockJobEvent, Events};
use crate::rate_limit::RateLimit;
use crate::{IoStatus, JobEvent, JobStatus, JobType, Progress};

/// A job without what only the main loop knows of it. Any thread.
pub(crate) struct Shared {
    /// None for an internal job.
    pub id: Option<String>,
    pub kind: JobType,
    /// Whether it is a block job: one that holds nodes, and of which more
    /// events tell.
    pub is_block_job: bool,
    pub engine: Engine,
    /// Where the code runs.
    pub home: Arc<Home>,
    pub main: MainLoop,
    pub events: Arc<Events>,
    /// The code has ended and the main loop has not looked yet. Drained
    /// sections wait for that: what the job does at its end comes before them.
    pub ending: AtomicBool,
    progress: Mutex<Progress>,
    speed: Mutex<Speed>,
    io_status: Mutex<IoStatus>,
}

#[derive(Default)]
struct Speed {
    bytes_a_second: i64,
    limit: RateLimit,
}

impl Shared {
    pub fn new(
        id: Option<String>,
        kind: JobType,
        is_block_job: bool,
        context: AioContext,
        main: MainLoop,
        events: Arc<Events>,
    ) -> Self {
        Shared {
            id,
            kind,
            is_block_job,
            engine: Engine::new(),
            home: Arc::new(Home::new(context)),
            main,
            events,
            ending: AtomicBool::new(false),
            progress: Mutex::default(),
            speed: Mutex::default(),
            io_status: Mutex::default(),
        }
    }

    /// How messages name it.
    pub fn id(&self) -> &str {
        self.id.as_deref().unwrap_or_default()
    }

    /// Puts a change of state in the queue of events.
    pub fn note(&self, status: JobStatus) {
        if let Some(id) = self.id.clone() {
            self.events.put(JobEvent::StatusChange { id, status });
        }
    }

    /// Puts an event of a block job in the queue, unless it is internal.
    pub fn note_block_job(&self, event: impl FnOnce(BlockJobEvent) -> JobEvent) {
        let Some(id) = self.id.clone().filter(|_| self.is_block_job) else {
            return;
        };
        self.events.put(event(BlockJobEvent {
            id,
            kind: self.kind,
            progress: self.progress(),
            speed: self.speed(),
        }));
    }

    pub fn progress(&self) -> Progress {
        *self.progress.lock()
    }

    pub fn change_progress(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.progress.lock());
    }

    pub fn speed(&self) -> i64 {
        self.speed.lock().bytes_a_second
    }

    /// Sets the speed and returns the one before.
    pub fn set_speed(&self, speed: i64) -> i64 {
        let mut known = self.speed.lock();
        known.limit.set_speed(speed.try_into().unwrap_or(0));
        std::mem::replace(&mut known.bytes_a_second, speed)
    }

    /// Counts bytes, and says how long to wait.
    pub fn processed(&self, bytes: u64) -> Duration {
        let now = Instant::now();
        self.speed.lock().limit.processed(now, bytes)
    }

    pub fn io_status(&self) -> IoStatus {
        *self.io_status.lock()
    }

    pub fn request_failed(&self, errno: i32) {
        let mut status = self.io_status.lock();
        *status = status.after(errno);
    }

    pub fn reset_io_status(&self) {
        *self.io_status.lock() = IoStatus::Ok;
    }
}

impl Tell for Shared {
    fn note(&self, status: JobStatus) {
        Shared::note(self, status);
    }

    fn announce(&self) {
        self.events.announce();
    }
}

/// The parent that holds the nodes of a block job (`child_job`).
pub(crate) struct Holder(pub Arc<Shared>);

impl EdgeParent for Holder {
    fn describe(&self) -> String {
        format!("{} job '{}'", self.0.kind, self.0.id())
    }

    fn drained_begin(&self, _bql: &BqlGuard) {
        self.0.engine.pause();
    }

    fn drained_poll(&self, bql: &BqlGuard) -> bool {
        let waker = bql.waker();
        let cx = &mut Context::from_waker(&waker);
        // The main loop ends this itself, in the poll of whoever asks.
        self.0.ending.load(Ordering::Acquire) || self.0.engine.poll_paused(cx).is_pending()
    }

    fn drained_end(&self, _bql: &BqlGuard) {
        self.0.engine.resume();
    }

    fn stays_at_node(&self) -> bool {
        true
    }

    fn context(&self) -> Option<AioContext> {
        Some(self.0.home.context())
    }

    fn may_change_context(&self, _bql: &BqlGuard, _context: &AioContext) -> Result<(), GraphError> {
        Ok(())
    }

    fn context_changed(&self, _bql: &BqlGuard, context: &AioContext) {
        self.0.home.set(context.clone());
    }
}
