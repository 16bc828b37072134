//! A parent that behaves as a job does.

use std::fmt;
use std::sync::{Arc, Mutex};

use block_common::error::errno;
use block_gs::{BqlGuard, EdgeParent, GraphError, MainLoop, Node, Parent, Perm};
use block_io::aio::{AioContext, Home, sleep};

use crate::{LATENCY, Watch};

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

type Prepare = Box<dyn FnOnce(&mut BqlGuard) + Send>;

/// A background activity that holds nodes: what a `BlockJob` is to a drained
/// section. This block layer has no jobs yet, only the kind of parent that
/// they will be.
///
/// Its code runs in an event loop, round after round; between two of them it
/// pauses if it was told to. When it was told to complete it returns, and the
/// rest is done in the main loop: `prepare`, and letting go of the nodes.
pub struct Job(Arc<Shared>);

struct Shared {
    state: Watch<State>,
    /// Where the code runs.
    home: Arc<Home>,
    main: MainLoop,
    parent: Mutex<Option<Parent>>,
    prepare: Mutex<Option<Prepare>>,
    failing: Failing,
}

#[derive(Default)]
struct State {
    /// Reasons to pause, one for each edge that leads to a quiesced node.
    pause_count: u32,
    paused: bool,
    should_complete: bool,
    returned: bool,
    /// 0, or an errno.
    outcome: Option<i32>,
    rounds: u64,
    /// Rounds that ran elsewhere than at home.
    strays: u64,
}

impl EdgeParent for Shared {
    fn describe(&self) -> String {
        "test job 'job0'".to_owned()
    }

    fn drained_begin(&self, _bql: &BqlGuard) {
        self.state.update(|state| state.pause_count += 1);
    }

    fn drained_poll(&self, _bql: &BqlGuard) -> bool {
        self.state.read(|state| !state.paused && !state.returned)
    }

    fn drained_end(&self, _bql: &BqlGuard) {
        self.state.update(|state| state.pause_count -= 1);
    }

    fn stays_at_node(&self) -> bool {
        true
    }

    fn may_change_context(&self, _bql: &BqlGuard, _context: &AioContext) -> Result<(), GraphError> {
        Ok(())
    }

    fn context_changed(&self, _bql: &BqlGuard, context: &AioContext) {
        self.home.set(context.clone());
    }
}

impl Shared {
    /// The code of the job.
    async fn run(&self) {
        loop {
            self.pause_point().await;
            if self.state.read(|state| state.should_complete) {
                return;
            }
            let strays = match AioContext::current() {
                Some(here) if self.home.is(&here) => 0,
                _ => 1,
            };
            self.state.update(|state| {
                state.rounds += 1;
                state.strays += strays;
            });
            self.main.kick();
            sleep(LATENCY).await;
        }
    }

    async fn pause_point(&self) {
        let has_to_pause = self.state.update(|state| {
            state.paused = state.pause_count > 0;
            state.paused
        });
        if has_to_pause {
            self.main.kick();
            // In one step: a section that begins meanwhile finds it paused
            // still, or running.
            let resume = |state: &mut State| {
                state.paused = state.pause_count > 0;
                (!state.paused).then_some(())
            };
            self.state.when(resume).await;
            self.main.kick();
        }
    }

    /// The end, in the main loop.
    fn conclude(&self, bql: &mut BqlGuard) {
        let prepare = self.prepare.lock().expect("no panic").take();
        if self.failing != Failing::Run
            && let Some(prepare) = prepare
        {
            prepare(bql);
        }
        let parent = self.parent.lock().expect("no panic").take();
        drop(parent);
        let outcome = match self.failing {
            Failing::Nothing => 0,
            Failing::Run | Failing::Prepare => errno::EIO,
        };
        self.state.update(|state| state.outcome = Some(outcome));
    }
}

impl Job {
    /// Starts one in the context of the first of `nodes`. It holds them all,
    /// and asks nothing of them. `prepare` runs in the main loop after its
    /// code, unless that fails.
    pub fn start(
        bql: &mut BqlGuard,
        nodes: &[&Node],
        failing: Failing,
        prepare: impl FnOnce(&mut BqlGuard) + Send + 'static,
    ) -> Job {
        let context = nodes.first().expect("a node").io().context();
        let shared = Arc::new(Shared {
            state: Watch::default(),
            home: Arc::new(Home::new(context)),
            main: bql.main_loop(),
            parent: Mutex::default(),
            prepare: Mutex::new(Some(Box::new(prepare))),
            failing,
        });
        let parent = Parent::new(bql, shared.clone());
        for (index, node) in nodes.iter().enumerate() {
            let name = format!("node {index}");
            let attached = parent.attach(bql, &name, node, Perm::empty(), Perm::all());
            attached.expect("it asks for nothing");
        }
        *shared.parent.lock().expect("no panic") = Some(parent);
        let worker = Arc::clone(&shared);
        let task = shared.home.spawn(async move {
            worker.run().await;
            worker.state.update(|state| state.returned = true);
            let main = worker.main.clone();
            main.schedule(move |bql| worker.conclude(bql));
        });
        task.detach();
        let job = Job(shared);
        job.wait_for_rounds(bql, 1);
        job
    }

    /// Reasons to pause (`job->pause_count`).
    pub fn pause_count(&self) -> u32 {
        self.0.state.read(|state| state.pause_count)
    }

    /// Whether its code stands still (`job->paused`, and not `job->busy`).
    pub fn is_paused(&self) -> bool {
        self.0.state.read(|state| state.paused)
    }

    /// Where its code runs (`job->aio_context`).
    pub fn context(&self) -> AioContext {
        self.0.home.context()
    }

    /// How many rounds have run elsewhere.
    pub fn strays(&self) -> u64 {
        self.0.state.read(|state| state.strays)
    }

    /// What came out, 0 or an errno, if it has ended.
    pub fn outcome(&self) -> Option<i32> {
        self.0.state.read(|state| state.outcome)
    }

    /// Runs the main loop until `rounds` more have been run.
    pub fn wait_for_rounds(&self, bql: &mut BqlGuard, rounds: u64) {
        let now = || self.0.state.read(|state| state.rounds);
        let enough = now() + rounds;
        bql.poll_until(|_| now() >= enough);
    }

    /// Runs the main loop until the code goes on.
    pub fn wait_until_resumed(&self, bql: &mut BqlGuard) {
        bql.poll_until(|_| !self.is_paused());
    }

    /// Tells it to complete (`job_complete`).
    pub fn tell_to_complete(&self) {
        self.0.state.update(|state| state.should_complete = true);
    }

    /// Tells it to complete, and waits until it has: 0 or an errno
    /// (`job_complete_sync`).
    pub fn complete(&self, bql: &mut BqlGuard) -> i32 {
        self.tell_to_complete();
        bql.poll_until(|_| self.outcome().is_some());
        self.outcome().expect("it has ended")
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("pause_count", &self.pause_count())
            .finish_non_exhaustive()
    }
}
