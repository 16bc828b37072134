//! What the world hears of jobs.
//!
//! A job's state changes in the loop where its code runs and in the main loop.
//! Events are put in one queue where the state changes, and handed to the
//! listeners in the main loop: in the order of the changes, whichever thread
//! made them.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Weak};

use block_common::sync::Mutex;
use block_gs::{BqlGuard, MainLoop};

use crate::registry::Registry;
use crate::{ErrorAction, JobStatus, JobType, Operation, Progress};

/// Something that happened to a job which users see.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum JobEvent {
    /// Another state (`JOB_STATUS_CHANGE`). Drained sections pause jobs and
    /// let them go on; these changes are here too, and are no wish of the
    /// user's.
    StatusChange {
        /// The job.
        id: String,
        /// The state.
        status: JobStatus,
    },
    /// A block job can be told to complete (`BLOCK_JOB_READY`).
    Ready(BlockJobEvent),
    /// A block job waits to be finalized (`BLOCK_JOB_PENDING`).
    Pending {
        /// The job.
        id: String,
        /// What it does.
        kind: JobType,
    },
    /// A block job is over (`BLOCK_JOB_COMPLETED`).
    Completed {
        /// The job.
        job: BlockJobEvent,
        /// Why it has failed, if it has.
        error: Option<String>,
    },
    /// A block job was cancelled, and is over (`BLOCK_JOB_CANCELLED`).
    Cancelled(BlockJobEvent),
    /// A request of a block job has failed (`BLOCK_JOB_ERROR`).
    Error {
        /// The job.
        id: String,
        /// What the request was to do.
        operation: Operation,
        /// What is done about it.
        action: ErrorAction,
    },
}

/// A block job at the moment of an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockJobEvent {
    /// The job (`device`).
    pub id: String,
    /// What it does.
    pub kind: JobType,
    /// How far it has come (`offset` and `len`).
    pub progress: Progress,
    /// Its speed in bytes a second; 0 for no limit.
    pub speed: i64,
}

impl JobEvent {
    /// The job that it is about.
    pub fn id(&self) -> &str {
        match self {
            JobEvent::StatusChange { id, .. }
            | JobEvent::Pending { id, .. }
            | JobEvent::Error { id, .. } => id,
            JobEvent::Ready(job) | JobEvent::Cancelled(job) | JobEvent::Completed { job, .. } => {
                &job.id
            }
        }
    }
}

type Hear = dyn Fn(&BqlGuard, &JobEvent) + Send + Sync;

/// Somebody listens as long as this exists; see [`listen`].
#[must_use = "nobody listens any more when this is dropped"]
pub struct Listener(Arc<Hear>);

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listener({:p})", Arc::as_ptr(&self.0))
    }
}

/// Calls `hear` in the main loop with every event of every job from now on,
/// until the [`Listener`] is dropped. It has a shared guard: it can look at
/// the graph and at jobs, and change neither.
pub fn listen(
    bql: &mut BqlGuard,
    hear: impl Fn(&BqlGuard, &JobEvent) + Send + Sync + 'static,
) -> Listener {
    let hear: Arc<Hear> = Arc::new(hear);
    let listeners = &mut bql.extension_mut::<Registry>().listeners;
    listeners.retain(|known| known.strong_count() > 0);
    listeners.push(Arc::downgrade(&hear));
    Listener(hear)
}

pub(crate) type WeakListener = Weak<Hear>;

/// How many events are kept for a main loop that does not come round. Beyond
/// that a job that meets the same error again and again is not told of.
const MANY: usize = 1024;

/// Events that nobody has heard of yet, of all jobs of a block layer.
pub(crate) struct Events {
    queue: Mutex<VecDeque<JobEvent>>,
    main: MainLoop,
}

impl Events {
    pub fn new(main: MainLoop) -> Self {
        Events {
            queue: Mutex::default(),
            main,
        }
    }

    /// Puts an event in the queue. [`announce`](Events::announce) it, or
    /// [`deliver`](Events::deliver), once no lock is held.
    pub fn put(&self, event: JobEvent) {
        let mut queue = self.queue.lock();
        let is_error = matches!(event, JobEvent::Error { .. });
        if is_error && queue.len() >= MANY && queue.back() == Some(&event) {
            return;
        }
        queue.push_back(event);
    }

    /// Has the main loop deliver what is in the queue.
    pub fn announce(self: &Arc<Self>) {
        let events = Arc::clone(self);
        self.main.schedule(move |bql| events.deliver(bql));
    }

    /// Hands what is in the queue to the listeners.
    pub fn deliver(&self, bql: &BqlGuard) {
        loop {
            let event = self.queue.lock().pop_front();
            let Some(event) = event else { return };
            let registry = bql.extension::<Registry>();
            for listener in registry.iter().flat_map(|all| &all.listeners) {
                if let Some(hear) = listener.upgrade() {
                    hear(bql, &event);
                }
            }
        }
    }
}
