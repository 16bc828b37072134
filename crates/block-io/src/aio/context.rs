//! The handle of an event loop.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam::queue::SegQueue;

use super::alarm::Alarm;
use super::event_loop::Local;
use super::file::Foreign;
use super::ready::Work;
use super::task::Target;
use super::uring::RingStatus;
use super::{AioError, HomeThread, JoinHandle, task};
use crate::engine::Sleeper;

/// A handle to an event loop, valid on every thread (`AioContext`).
///
/// Two handles are equal when they name the same loop. A handle outlives its loop: work sent to a
/// loop that has ended is dropped, in the thread that sends it.
#[derive(Clone)]
pub struct AioContext(Arc<Shared>);

/// The part of a loop that other threads reach.
pub(super) struct Shared {
    name: Box<str>,
    main: bool,
    remote: SegQueue<Work>,
    sleeper: Sleeper,
    closed: AtomicBool,
    alarm: Alarm,
    epoll: OwnedFd,
    ring: RingStatus,
    foreign: Mutex<Foreign>,
}

impl AioContext {
    pub(super) fn new(
        name: &str,
        main: bool,
        alarm: Alarm,
        epoll: OwnedFd,
        ring: RingStatus,
    ) -> AioContext {
        AioContext(Arc::new(Shared {
            name: name.into(),
            main,
            remote: SegQueue::new(),
            sleeper: Sleeper::new(),
            closed: AtomicBool::new(false),
            alarm,
            epoll,
            ring,
            foreign: Mutex::default(),
        }))
    }

    /// The context of the loop that this thread has entered, if any
    /// (`qemu_get_current_aio_context`).
    pub fn current() -> Option<AioContext> {
        with_current(|local| local.map(|local| local.context().clone()))
    }

    /// The name given at creation.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether this thread has entered the loop of this context.
    pub fn is_current(&self) -> bool {
        with_current(|local| local.is_some_and(|local| local.context() == self))
    }

    /// Whether this is the main loop, which only the holder of `&mut BqlGuard` may poll.
    pub fn is_main(&self) -> bool {
        self.0.main
    }

    /// Makes a blocking [`poll`](super::EventLoop::poll) return, now or the next time it would
    /// sleep (`aio_notify`). For conditions that the loop does not know of; everything in this
    /// module wakes the loop by itself. Make the condition true first.
    pub fn kick(&self) {
        if self.0.sleeper.kick() {
            self.0.alarm.raise();
        }
    }

    /// Runs `bottom_half` once on the loop, from its next poll, before everything that is
    /// scheduled later (`aio_bh_schedule_oneshot`).
    pub fn schedule(&self, bottom_half: impl FnOnce(&mut HomeThread<'_>) + Send + 'static) {
        self.submit(Work::BottomHalf(Box::new(bottom_half)));
    }

    /// Runs `future` as a task of this context (`aio_co_schedule` of a new coroutine). It first
    /// runs at the next poll, never inside this call.
    ///
    /// A panic in the task reaches whoever awaits the handle; the loop goes on. When the loop ends
    /// first, the task is dropped.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        task::spawn(Target::Fixed(self.clone()), future)
    }

    /// Resolves when the loop has turned once: whatever was in the middle of its turn has rested
    /// since. At once if the loop has ended.
    pub fn turned(&self) -> impl Future<Output = ()> + use<> {
        task::ended(task::spawn(Target::Fixed(self.clone()), async {}))
    }

    /// Whether the loop has an io_uring.
    pub fn has_io_uring(&self) -> bool {
        self.0.ring == RingStatus::Available
    }

    /// Why the loop has no io_uring: the error the kernel gave, or `Unsupported` when the loop was
    /// made without one. `None` when it has one.
    pub fn io_uring_error(&self) -> Option<io::Error> {
        self.0.ring.error()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
    }

    /// From now on [`submit`](Self::submit) by other threads drops what it is given.
    pub(super) fn close(&self) {
        self.0.closed.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    pub(super) fn submit(&self, work: Work) {
        let mut work = Some(work);
        with_current(|local| {
            if let Some(local) = local.filter(|local| local.context() == self) {
                local.push(work.take().expect("not yet taken"));
            }
        });
        if let Some(work) = work {
            self.submit_remote(work);
        }
    }

    pub(super) fn submit_remote(&self, work: Work) {
        if self.0.sleeper.announce(|| self.0.remote.push(work)) {
            self.0.alarm.raise();
        }
        // Pairs with the fence in `close`: either this thread sees that the loop has ended, or the
        // ending loop sees the work. Without this the work, and through it the context, would leak.
        fence(Ordering::SeqCst);
        if self.is_closed() {
            while self.take_remote().is_some() {}
        }
    }

    /// Leaves upkeep for the loop without waking it.
    pub(super) fn leave(&self, upkeep: Work) {
        if !self.is_closed() {
            self.0.remote.push(upkeep);
        }
    }

    pub(super) fn take_remote(&self) -> Option<Work> {
        self.0.remote.pop()
    }

    pub(super) fn remote_len(&self) -> usize {
        // The length takes several looks at the queue; mostly it is empty.
        if self.0.remote.is_empty() {
            0
        } else {
            self.0.remote.len()
        }
    }

    pub(super) fn sleeper(&self) -> &Sleeper {
        &self.0.sleeper
    }

    pub(super) fn epoll(&self) -> &OwnedFd {
        &self.0.epoll
    }

    pub(super) fn alarm(&self) -> &Alarm {
        &self.0.alarm
    }

    /// Operations whose futures have left this context.
    pub(super) fn with_foreign<R>(&self, access: impl FnOnce(&mut Foreign) -> R) -> R {
        access(
            &mut self
                .0
                .foreign
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Where the context lives; compared, never followed.
    pub(super) fn address(&self) -> *const Shared {
        Arc::as_ptr(&self.0)
    }
}

impl PartialEq for AioContext {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for AioContext {}

impl Hash for AioContext {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.address().hash(state);
    }
}

impl fmt::Debug for AioContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AioContext({:?}, {:p})", self.name(), self.address())
    }
}

#[cfg(not(block_loom))]
thread_local! {
    static CURRENT: RefCell<Option<Rc<Local>>> = const { RefCell::new(None) };
}

#[cfg(block_loom)]
block_common::sync::thread_local! {
    static CURRENT: RefCell<Option<Rc<Local>>> = RefCell::new(None);
}

/// Looks at the loop this thread has entered. `access` must not run foreign code.
pub(super) fn with_current<R>(access: impl FnOnce(Option<&Rc<Local>>) -> R) -> R {
    let mut access = Some(access);
    let mut run = |local: Option<&Rc<Local>>| (access.take().expect("runs once"))(local);
    // At the end of a thread the variable may be gone; then no loop is entered.
    match CURRENT.try_with(|current| run(current.borrow().as_ref())) {
        Ok(result) => result,
        Err(_) => run(None),
    }
}

/// Puts `local` in the place of the thread's current loop and returns the one before.
pub(super) fn replace_current(local: Option<Rc<Local>>) -> Option<Rc<Local>> {
    let mut local = Some(local);
    CURRENT
        .try_with(|current| {
            let new = local.take().flatten();
            std::mem::replace(&mut *current.borrow_mut(), new)
        })
        .unwrap_or(None)
}

/// The error for entering `requested` where `current` is entered.
pub(super) fn already_entered(current: &AioContext, requested: &AioContext) -> AioError {
    AioError::AlreadyEntered {
        current: current.name().to_owned(),
        requested: requested.name().to_owned(),
    }
}
