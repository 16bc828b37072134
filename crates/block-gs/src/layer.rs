//! A running block layer and its main loop.

use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use block_io::Events;
use block_io::aio::{AioContext, Entered, EventLoop, Wait};
use crossbeam::queue::SegQueue;
use futures_channel::oneshot;

use crate::bql::with_guard;
use crate::graph::Graph;
use crate::{BqlGuard, GraphError};

/// Which block layer something belongs to. Never used twice in a process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct LayerId(u64);

/// A bottom half of the main loop: runs with the BQL held.
type Job = Box<dyn FnOnce(&mut BqlGuard) + Send>;

/// What handles on any thread share with the main loop.
pub(crate) struct LayerShared {
    id: LayerId,
    context: AioContext,
    jobs: SegQueue<Job>,
    /// What may have lost its last reference: looked at before other jobs,
    /// and before anything that what is dead could stand in the way of.
    reaps: SegQueue<Job>,
    closed: AtomicBool,
    events: Arc<Events>,
}

impl LayerShared {
    pub(crate) fn id(&self) -> LayerId {
        self.id
    }

    pub(crate) fn context(&self) -> &AioContext {
        &self.context
    }

    pub(crate) fn schedule(&self, job: Job) {
        self.push(&self.jobs, job);
    }

    /// As [`schedule`](LayerShared::schedule), for what may be dead.
    pub(crate) fn schedule_reap(&self, job: Job) {
        self.push(&self.reaps, job);
    }

    fn push(&self, queue: &SegQueue<Job>, job: Job) {
        if self.closed.load(Ordering::Acquire) {
            return;
        }
        queue.push(job);
        // Pairs with the fence in `close`: either this thread sees that the
        // layer has been closed, or that one sees the job. A job left behind
        // would keep whoever awaits its answer waiting, and us alive.
        fence(Ordering::SeqCst);
        if self.closed.load(Ordering::Acquire) {
            self.drop_queued();
        } else {
            self.kick();
        }
    }

    /// From now on nothing is taken in, and whoever waits for an answer hears
    /// that there will be none.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.drop_queued();
    }

    fn drop_queued(&self) {
        while let Some(job) = self.jobs.pop().or_else(|| self.reaps.pop()) {
            drop(job);
        }
    }

    /// Makes a nested poll return, so that whatever it waits for is looked at
    /// again (`aio_wait_kick`).
    pub(crate) fn kick(&self) {
        self.context.schedule(|_| {});
    }
}

/// Wakes the main loop. What waits there waits for conditions, and looks at
/// them again whenever the loop has turned.
struct MainWaker(Arc<LayerShared>);

impl Wake for MainWaker {
    fn wake(self: Arc<Self>) {
        self.0.kick();
    }
}

/// The state behind the BQL. Stays on the thread that made it.
pub(crate) struct LayerState {
    shared: Arc<LayerShared>,
    event_loop: EventLoop,
    graph: UnsafeCell<Graph>,
    waker: Waker,
    /// How many calls of [`BqlGuard::reap`] are on the stack.
    reaping: Cell<u32>,
}

/// One call of [`BqlGuard::reap`] on the stack.
struct Level<'a>(&'a Cell<u32>);

impl<'a> Level<'a> {
    /// Closing a node polls, and that reaps again. Where many nodes have lost
    /// their last reference at once this would go as deep as there are nodes;
    /// from here on the rest is left to the calls further down.
    const DEEPEST: u32 = 16;

    fn enter(count: &'a Cell<u32>) -> Option<Self> {
        (count.get() < Level::DEEPEST).then(|| {
            count.set(count.get() + 1);
            Level(count)
        })
    }
}

impl Drop for Level<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl LayerState {
    pub(crate) fn shared(&self) -> &Arc<LayerShared> {
        &self.shared
    }

    pub(crate) fn graph(&self) -> &UnsafeCell<Graph> {
        &self.graph
    }
}

/// Entering was refused: this thread is inside a block layer already.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct EnterError(&'static str);

impl EnterError {
    pub(crate) fn new(same_layer: bool) -> Self {
        EnterError(if same_layer {
            "this thread is already inside this block layer's main loop; use the `&mut BqlGuard` \
             that the main loop lent you instead of entering again"
        } else {
            "this thread is already inside another block layer's main loop; one thread can hold \
             the BQL of one block layer at a time"
        })
    }
}

/// A running block layer: the graph, the main loop, the iothreads.
///
/// Neither `Send` nor `Sync`: the thread that makes it is its main thread,
/// and no iothread can take the BQL, because the handle that can never gets
/// there. Dropping it closes every node and stops every iothread.
///
/// ```
/// use block_gs::BlockLayer;
///
/// let layer = BlockLayer::new()?;
/// let nodes = layer.enter(|bql| block_gs::nodes(bql).count());
/// assert_eq!(nodes, 0);
/// # Ok::<(), block_gs::GraphError>(())
/// ```
pub struct BlockLayer {
    state: Box<LayerState>,
    stays_on_its_main_thread: PhantomData<*mut StaysOnItsMainThread>,
}

/// Never a value. A pointer to it is neither `Send` nor `Sync`, and so the
/// compiler gives the reason when it refuses to take a layer to a thread.
enum StaysOnItsMainThread {}

impl fmt::Debug for BlockLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockLayer({:?})", self.state.shared.id)
    }
}

impl BlockLayer {
    /// An empty block layer, whose main thread is this one (`bdrv_init`).
    ///
    /// # Errors
    /// [`GraphError::EventLoop`] when the kernel refuses the file descriptors
    /// that an event loop needs.
    pub fn new() -> Result<Self, GraphError> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let event_loop = EventLoop::new_main("main")
            .map_err(|error| GraphError::EventLoop(error.to_string()))?;
        let shared = Arc::new(LayerShared {
            id: LayerId(NEXT.fetch_add(1, Ordering::Relaxed)),
            context: event_loop.context().clone(),
            jobs: SegQueue::new(),
            reaps: SegQueue::new(),
            closed: AtomicBool::new(false),
            events: Arc::default(),
        });
        let listener = Arc::downgrade(&shared);
        shared.events.resizes().set_wake(move || {
            if let Some(shared) = listener.upgrade() {
                shared.schedule(Box::new(|bql| crate::device::tell_truncated(bql)));
            }
        });
        let listener = Arc::downgrade(&shared);
        shared.events.damages().set_wake(move || {
            if let Some(shared) = listener.upgrade() {
                shared.schedule(Box::new(|bql| crate::device::tell_damaged(bql)));
            }
        });
        let waker = Waker::from(Arc::new(MainWaker(Arc::clone(&shared))));
        Ok(BlockLayer {
            state: Box::new(LayerState {
                shared,
                event_loop,
                graph: UnsafeCell::new(Graph::default()),
                waker,
                reaping: Cell::new(0),
            }),
            stays_on_its_main_thread: PhantomData,
        })
    }

    /// Runs `f` with the BQL held, then whatever it left for the main loop to
    /// do at once. The iothreads run on, also when nobody is inside.
    ///
    /// # Panics
    /// When this thread is inside a block layer already; see
    /// [`try_enter`](BlockLayer::try_enter).
    pub fn enter<R>(&self, f: impl FnOnce(&mut BqlGuard) -> R) -> R {
        self.try_enter(f).unwrap_or_else(|error| panic!("{error}"))
    }

    /// As [`enter`](BlockLayer::enter), but a second entry is an error and no
    /// panic. Each thread enters one block layer at a time and that one once:
    /// two proofs on one thread would be two exclusive borrows of one graph.
    ///
    /// # Errors
    /// [`EnterError`].
    pub fn try_enter<R>(&self, f: impl FnOnce(&mut BqlGuard) -> R) -> Result<R, EnterError> {
        with_guard(&self.state, |bql| {
            let _entered = self.enter_context();
            let result = f(bql);
            bql.settle();
            result
        })
    }

    /// A handle with which other threads reach the main loop.
    pub fn main_loop(&self) -> MainLoop {
        MainLoop {
            shared: Arc::clone(&self.state.shared),
        }
    }

    fn enter_context(&self) -> Entered<'_> {
        self.state
            .event_loop
            .enter()
            .unwrap_or_else(|error| panic!("the main loop cannot run here: {error}"))
    }
}

struct Closing<'a>(&'a LayerShared);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Drop for BlockLayer {
    fn drop(&mut self) {
        // Also when a driver panics: others may wait for an answer.
        let _closing = Closing(&self.state.shared);
        let closed = with_guard(&self.state, |bql| {
            let _entered = self.enter_context();
            crate::shutdown::close_all(bql);
        });
        if closed.is_err() && !std::thread::panicking() {
            panic!("a block layer was dropped inside another one's main loop");
        }
    }
}

/// How iothreads and other threads reach the main loop: they hand it closures
/// that run with the BQL held (`aio_bh_schedule_oneshot` on the main
/// context, and the `no_co_wrapper` functions).
///
/// `Send + Sync`, and harmless to keep: it holds no proof, it asks the main
/// loop for one.
#[derive(Clone)]
pub struct MainLoop {
    shared: Arc<LayerShared>,
}

impl fmt::Debug for MainLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MainLoop({:?})", self.shared.id)
    }
}

impl MainLoop {
    /// Runs `f` in the main loop, with the BQL, some time later. Dropped
    /// unrun if the block layer goes away first.
    pub fn schedule(&self, f: impl FnOnce(&mut BqlGuard) + Send + 'static) {
        self.shared.schedule(Box::new(f));
    }

    /// Runs `f` in the main loop, with the BQL, and awaits what it returns.
    /// This is how I/O code gets a global change done.
    ///
    /// Do not await it while holding an [`InFlight`](block_io::InFlight) above
    /// a node that `f` drains: the drain waits for that request, and the
    /// request for the drain. End the request first.
    ///
    /// # Errors
    /// [`MainLoopGone`] when the block layer has been dropped, or `f`
    /// panicked.
    pub async fn call<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut BqlGuard) -> R + Send + 'static,
    ) -> Result<R, MainLoopGone> {
        let (answer, question) = oneshot::channel();
        self.schedule(move |bql| {
            // The asker may have been cancelled meanwhile.
            let _ = answer.send(f(bql));
        });
        question.await.map_err(|_| MainLoopGone)
    }

    /// Makes the main loop look again at what it waits for
    /// (`aio_wait_kick`). Whoever ends something that a
    /// [`drained_poll`](crate::EdgeParent::drained_poll) reports calls this
    /// afterwards.
    pub fn kick(&self) {
        self.shared.kick();
    }

    /// The main loop's AioContext (`qemu_get_aio_context`).
    pub fn context(&self) -> &AioContext {
        &self.shared.context
    }
}

/// The main loop will not answer any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the block layer is gone")]
pub struct MainLoopGone;

/// The main loop itself, for whoever holds the exclusive proof.
impl BqlGuard {
    /// A handle with which other threads reach this main loop.
    pub fn main_loop(&self) -> MainLoop {
        MainLoop {
            shared: Arc::clone(self.state().shared()),
        }
    }

    /// What backends of this layer tell, in whichever thread: listen there.
    /// The value can be kept, and used without a proof.
    pub fn events(&self) -> &Arc<Events> {
        &self.state().shared().events
    }

    /// The main loop's AioContext (`qemu_get_aio_context`).
    pub fn context(&self) -> &AioContext {
        self.state().shared().context()
    }

    /// Runs what is ready in the main loop, and if nothing is and `wait`
    /// allows it, waits for something (`aio_poll`). Returns whether anything
    /// ran.
    ///
    /// Anything can run in here: bottom halves, other callbacks, whole drained
    /// sections. That is why it takes the exclusive proof, and why nothing
    /// borrowed from the graph can be kept across it.
    pub fn poll(&mut self, wait: Wait) -> bool {
        let mut progress = self.run_jobs();
        let wait = if progress { Wait::No } else { wait };
        progress |= self.state().event_loop.poll(wait);
        progress |= self.run_jobs();
        progress
    }

    /// Runs the main loop until `condition` holds (`AIO_WAIT_WHILE`). Whoever
    /// makes it true from another thread calls [`MainLoop::kick`] afterwards.
    pub fn poll_until(&mut self, mut condition: impl FnMut(&BqlGuard) -> bool) {
        while !condition(self) {
            self.poll(Wait::Until(None));
        }
    }

    /// Runs the main loop for a while.
    pub fn run_for(&mut self, duration: Duration) {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            self.poll(Wait::Until(Some(end)));
        }
    }

    /// Drives an I/O future to its end in the main loop (`BDRV_POLL_WHILE`
    /// around a coroutine). It may borrow from the caller, but not from the
    /// graph. Polls nested in this one drive it too.
    pub fn block_on<T>(&mut self, future: impl Future<Output = T>) -> T {
        self.with_state(|state, bql| {
            state.event_loop.block_on_with(future, || {
                bql.run_jobs();
            })
        })
    }

    /// Runs what the main loop was handed so far, and frees what that lets go.
    /// One turn: a task that never rests must not keep us.
    pub(crate) fn settle(&mut self) {
        self.poll(Wait::No);
        while self.reap() {}
    }

    /// Frees what nobody refers to any more. Polls when there is something.
    pub(crate) fn reap(&mut self) -> bool {
        self.with_state(|state, bql| {
            let Some(_level) = Level::enter(&state.reaping) else {
                return false;
            };
            let mut progress = false;
            while let Some(job) = state.shared.reaps.pop() {
                job(bql);
                progress = true;
            }
            progress
        })
    }

    fn run_jobs(&mut self) -> bool {
        let mut progress = self.reap();
        // No more than are there now: a job that schedules itself must not
        // keep the timers and file descriptors waiting.
        for _ in 0..self.state().shared().jobs.len() {
            // Taken one at a time, so that a poll nested in a job finds the
            // others.
            let Some(job) = self.state().shared().jobs.pop() else {
                break;
            };
            job(self);
            progress = true;
        }
        // What came meanwhile has rung the bell, but a poll nested in a job
        // may have heard it.
        if !self.state().shared().jobs.is_empty() {
            self.context().kick();
        }
        progress
    }

    /// The waker of whatever waits in [`poll_until`](BqlGuard::poll_until) or
    /// for a drained section: it is to look again. For what a
    /// [`drained_poll`](crate::EdgeParent::drained_poll) asks.
    pub fn waker(&self) -> Waker {
        self.state().waker.clone()
    }
}
