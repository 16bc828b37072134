//! The owning side of a context: the loop itself.

use std::cell::{Cell, RefCell, RefMut};
use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::task::Waker;
use std::time::Instant;

use async_task::Runnable;
use rustix::event::epoll;

use super::alarm::Alarm;
use super::context::{already_entered, replace_current, with_current};
use super::fd::FdTable;
use super::ready::{ReadyQueue, Upkeep, Work};
use super::scoped::{self, Scopes};
use super::slots::{Key, Slots};
use super::task::TaskMeta;
use super::timer::Timers;
use super::uring::{Completed, Ring, RingStatus};
use super::{AioContext, AioError, HomeThread, file, tracked};

/// How long a [`poll`](EventLoop::poll) may block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    No,
    /// Until something happens, or until the given time.
    Until(Option<Instant>),
}

/// How a loop is made.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct LoopOptions {
    /// The main loop: a [`HomeThread`] does not suffice to poll it. Default: no.
    pub main: bool,
    /// Use io_uring when the kernel allows it. Default: yes.
    pub io_uring: bool,
}

impl Default for LoopOptions {
    fn default() -> Self {
        LoopOptions {
            main: false,
            io_uring: true,
        }
    }
}

/// An event loop. It belongs to the thread that made it and is neither `Send` nor `Sync`.
///
/// Dropping it ends the context: work that is queued and tasks that are parked are dropped, and
/// operations in flight are cancelled and waited for.
///
/// ```compile_fail
/// fn sendable<T: Send>() {}
/// sendable::<block_io::aio::EventLoop>();
/// ```
pub struct EventLoop {
    local: Rc<Local>,
}

impl EventLoop {
    /// A loop whose context is called `name`.
    ///
    /// # Errors
    /// [`AioError::Create`] when the kernel refuses the descriptors. A refused io_uring is no
    /// error, see [`AioContext::io_uring_error`].
    pub fn new(name: &str) -> Result<EventLoop, AioError> {
        EventLoop::with_options(name, LoopOptions::default())
    }

    /// As [`new`](Self::new), for the main loop.
    pub fn new_main(name: &str) -> Result<EventLoop, AioError> {
        let main = true;
        EventLoop::with_options(
            name,
            LoopOptions {
                main,
                ..LoopOptions::default()
            },
        )
    }

    /// As [`new`](Self::new), with `options`.
    pub fn with_options(name: &str, options: LoopOptions) -> Result<EventLoop, AioError> {
        let local = Local::new(name, options).map_err(|source| AioError::Create {
            name: name.to_owned(),
            source: source.into(),
        })?;
        Ok(EventLoop {
            local: Rc::new(local),
        })
    }

    /// The handle of this loop.
    pub fn context(&self) -> &AioContext {
        self.local.context()
    }

    /// Makes this the thread's current context until the result is dropped. Polling does so by
    /// itself; entering for longer spares that, and lets code between two polls use
    /// [`AioContext::current`].
    ///
    /// # Errors
    /// [`AioError::AlreadyEntered`] when the thread is on a loop already, this one included.
    pub fn enter(&self) -> Result<Entered<'_>, AioError> {
        match AioContext::current() {
            Some(current) => Err(already_entered(&current, self.context())),
            None => {
                replace_current(Some(Rc::clone(&self.local)));
                Ok(Entered { event_loop: self })
            }
        }
    }

    /// Runs what is ready, after waiting for it as long as `wait` allows (`aio_poll`). Returns
    /// whether anything ran: a bottom half, task, timer, file descriptor handler or completion.
    /// `false` after a blocking wait means that the time is over, that somebody
    /// [kicked](AioContext::kick) the loop, or that the wait was cut short, as by a signal. So
    /// callers that wait for something ask in a loop.
    ///
    /// May be called from inside everything it runs. What becomes ready in a callback runs in the
    /// next poll, so a bottom half that schedules itself cannot keep the loop.
    ///
    /// # Panics
    /// With the panic of a bottom half or handler. What was queued behind it stays queued. And when
    /// the thread is on another loop, which only a program error can cause.
    #[track_caller]
    pub fn poll(&self, wait: Wait) -> bool {
        let _entered = self.enter_for_poll();
        self.local.poll(wait)
    }

    /// Drives `future` to its end (`AIO_WAIT_WHILE`, and `bdrv_poll_co` for coroutines).
    ///
    /// The future is a task among the others, so a poll from inside one of the loop's callbacks
    /// drives it too. It may borrow from the caller's stack and need not be `Send`.
    ///
    /// # Panics
    /// As [`poll`](Self::poll), and with the panic of `future`. When anything unwinds out of this
    /// call, the future is dropped before the caller's stack frame goes.
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.block_on_with(future, || {})
    }

    /// As [`block_on`](Self::block_on), and calls `each` before every poll, with nothing of the
    /// loop borrowed. For work of a layer above that the loop cannot run itself. Whoever queues
    /// such work [kicks](AioContext::kick) the context afterwards.
    #[track_caller]
    pub fn block_on_with<F: Future>(&self, future: F, each: impl FnMut()) -> F::Output {
        let _entered = self.enter_for_poll();
        scoped::block_on(&self.local, future, each)
    }

    /// Whether a poll would find nothing to run without waiting for a timer, descriptor or
    /// completion.
    pub(super) fn is_idle(&self) -> bool {
        self.local.is_idle()
    }

    #[track_caller]
    fn enter_for_poll(&self) -> Option<Entered<'_>> {
        let entered = with_current(|local| local.map(|local| Rc::ptr_eq(local, &self.local)));
        match entered {
            Some(true) => None,
            _ => match self.enter() {
                Ok(entered) => Some(entered),
                Err(error) => panic!("{error}"),
            },
        }
    }
}

impl Drop for EventLoop {
    fn drop(&mut self) {
        let before = replace_current(Some(Rc::clone(&self.local)));
        self.local.close();
        // An `Entered` that was leaked may have left this very loop in the place.
        let before = before.filter(|before| !Rc::ptr_eq(before, &self.local));
        replace_current(before);
    }
}

impl fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EventLoop").field(self.context()).finish()
    }
}

/// The thread is on an event loop until this is dropped, see [`EventLoop::enter`].
#[must_use = "dropping it leaves the context again"]
#[derive(Debug)]
pub struct Entered<'a> {
    event_loop: &'a EventLoop,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let was = replace_current(None);
        debug_assert!(was.is_none_or(|was| Rc::ptr_eq(&was, &self.event_loop.local)));
    }
}

/// What a loop owns. Each table has its own cell, and no cell is borrowed while foreign code
/// runs.
pub(super) struct Local {
    context: AioContext,
    ready: RefCell<ReadyQueue>,
    timers: RefCell<Timers>,
    fds: RefCell<FdTable>,
    ring: RefCell<Option<Ring>>,
    scopes: RefCell<Scopes>,
    /// A waker of each task that has run here and is bound to this context.
    tasks: RefCell<Slots<Waker>>,
    /// The time of this turn, once somebody has asked for it.
    now: Cell<Option<Instant>>,
}

impl Local {
    fn new(name: &str, options: LoopOptions) -> rustix::io::Result<Local> {
        let alarm = Alarm::new()?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let (ring, status) = if options.io_uring && !cfg!(block_loom) {
            Ring::new()
        } else {
            (None, RingStatus::NotWanted)
        };
        let fds = FdTable::new();
        if ring.is_none() {
            fds.watch_wake_fd(&epoll, alarm.fd())?;
        }
        Ok(Local {
            context: AioContext::new(name, options.main, alarm, epoll, status),
            ready: RefCell::new(ReadyQueue::new()),
            timers: RefCell::new(Timers::new()),
            fds: RefCell::new(fds),
            ring: RefCell::new(ring),
            scopes: RefCell::default(),
            tasks: RefCell::new(Slots::new()),
            now: Cell::new(None),
        })
    }

    pub(super) fn context(&self) -> &AioContext {
        &self.context
    }

    pub(super) fn push(&self, work: Work) {
        self.ready.borrow_mut().push(work);
    }

    pub(super) fn timers(&self) -> RefMut<'_, Timers> {
        self.timers.borrow_mut()
    }

    pub(super) fn fds(&self) -> RefMut<'_, FdTable> {
        self.fds.borrow_mut()
    }

    pub(super) fn ring(&self) -> RefMut<'_, Option<Ring>> {
        self.ring.borrow_mut()
    }

    pub(super) fn scopes(&self) -> RefMut<'_, Scopes> {
        self.scopes.borrow_mut()
    }

    /// The time of this turn of the loop. May lag behind the clock, never ahead.
    pub(super) fn now(&self) -> Instant {
        self.now.get().unwrap_or_else(|| {
            let now = Instant::now();
            self.now.set(Some(now));
            now
        })
    }

    fn is_idle(&self) -> bool {
        self.nothing_ready() && self.context.remote_len() == 0
    }

    fn nothing_ready(&self) -> bool {
        self.ready.borrow().is_empty() && self.fds.borrow().none_pending()
    }

    pub(super) fn poll(self: &Rc<Self>, wait: Wait) -> bool {
        self.now.set(None);
        let slept = match wait {
            Wait::No => {
                self.take_remote();
                false
            }
            Wait::Until(limit) => self
                .context
                .sleeper()
                .unless_busy(|| self.look(limit), |until| self.gather_or_sleep(until)),
        };
        if slept {
            self.take_remote();
        } else {
            self.gather();
        }
        let mut progress = self.complete_operations();
        progress |= self.fire_timers();
        progress |= self.call_fd_handlers();
        progress |= self.run_ready();
        progress
    }

    /// Moves what other threads have queued into the loop's own queue, where nested polls find it
    /// too.
    fn take_remote(self: &Rc<Self>) {
        for _ in 0..self.context.remote_len() {
            match self.context.take_remote() {
                Some(Work::Upkeep(upkeep)) => self.keep_up(upkeep),
                Some(work) => self.push(work),
                None => break,
            }
        }
    }

    fn keep_up(self: &Rc<Self>, upkeep: Upkeep) {
        match upkeep {
            Upkeep::ForgetFd(key) => {
                let forgotten = self.fds().forget(key);
                drop(forgotten);
            }
            Upkeep::ForgetTimer(key) => {
                let forgotten = self.timers().remove(key);
                drop(forgotten);
            }
            Upkeep::ForwardOp(key) => file::forward(self, key),
            Upkeep::AbandonOp(key) => file::abandon(self, key),
        }
    }

    /// Takes over what others have queued. `None`: there is something to do. Else until when the
    /// loop may sleep.
    fn look(self: &Rc<Self>, limit: Option<Instant>) -> Option<Option<Instant>> {
        self.take_remote();
        if !self.nothing_ready() {
            return None;
        }
        let timer = self.timers.borrow().next_deadline();
        let deadline = [timer, limit].into_iter().flatten().min();
        if deadline.is_some_and(|deadline| deadline <= self.now()) {
            return None;
        }
        Some(deadline)
    }

    /// Hands new operations to the kernel, and waits until something happens.
    fn gather_or_sleep(&self, deadline: Option<Instant>) {
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(self.now()));
        let timed_out = match self.ring().as_mut() {
            Some(ring) => {
                let watch = self.fds.borrow().wants_events();
                ring.wait(&self.context, watch, timeout)
            }
            #[cfg(block_loom)]
            None => {
                self.context.alarm().wait();
                false
            }
            #[cfg(not(block_loom))]
            None => self.fds().wait(self.context.epoll(), timeout),
        };
        // Time has passed. A wait that was cut short reads the clock again, if there are timers.
        self.now.set(deadline.filter(|_| timed_out));
    }

    /// Hands new operations to the kernel, and learns what has happened, without waiting.
    fn gather(&self) {
        match self.ring().as_mut() {
            Some(ring) => {
                let watch = self.fds.borrow().wants_events();
                ring.submit(&self.context, watch);
            }
            None => {
                let mut fds = self.fds();
                if fds.wants_events() {
                    fds.collect(self.context.epoll());
                }
            }
        }
    }

    fn complete_operations(self: &Rc<Self>) -> bool {
        let mut progress = false;
        loop {
            let completed = match self.ring().as_mut() {
                Some(ring) => ring.next_completed(),
                None => None,
            };
            match completed {
                None => return progress,
                Some(Completed::FdsReady) => self.fds().collect(self.context.epoll()),
                Some(Completed::Here(waker)) => {
                    progress = true;
                    if let Some(waker) = waker {
                        waker.wake();
                    }
                }
                Some(Completed::Elsewhere(key, outcome)) => {
                    progress = true;
                    file::deposit(&self.context, key, outcome);
                }
                Some(Completed::Abandoned(outcome)) => {
                    progress = true;
                    drop(outcome);
                }
            }
        }
    }

    fn fire_timers(&self) -> bool {
        if self.timers.borrow().is_empty() {
            return false;
        }
        let now = self.now();
        let mut progress = false;
        loop {
            let due = self.timers().pop_due(now);
            let Some(waker) = due else {
                return progress;
            };
            progress = true;
            waker.wake();
        }
    }

    fn run_ready(self: &Rc<Self>) -> bool {
        let end = self.ready.borrow().end();
        let mut progress = false;
        loop {
            let work = self.ready.borrow_mut().pop_before(end);
            let Some(work) = work else {
                return progress;
            };
            progress = true;
            match work {
                Work::BottomHalf(bottom_half) => bottom_half(&mut HomeThread::new(self)),
                Work::Task(task) => self.run_task(task),
                Work::Scoped(task) => scoped::run(self, task),
                Work::Upkeep(upkeep) => self.keep_up(upkeep),
            }
        }
    }

    fn run_task(&self, task: Runnable<TaskMeta>) {
        if !task.metadata().runs_in(&self.context) {
            // The home moved after the wake-up had read it. Scheduling reads it again.
            return task.schedule();
        }
        let mut key = task.metadata().registration();
        if key == Key::NONE && task.metadata().is_fixed() {
            let waker = task.waker();
            key = self.tasks.borrow_mut().insert(waker);
            task.metadata().set_registration(key);
        }
        if tracked::run(task) {
            let waker = self.tasks.borrow_mut().remove(key);
            drop(waker);
        }
    }

    /// Ends the context. Everything that may hold something of the loop is dropped here, on the
    /// loop's own thread.
    fn close(self: &Rc<Self>) {
        self.context.close();
        self.drop_queued();
        while !self.tasks.borrow().is_empty() {
            // A task that is parked is woken, which puts it into the queue.
            let parked = self.tasks.borrow_mut().take_all();
            for (_, waker) in parked {
                waker.wake();
            }
            self.drop_queued();
        }
        file::finish_all(self);
        loop {
            let timer = self.timers().pop();
            match timer {
                Some(waker) => waker.wake(),
                None => break,
            }
        }
        let handlers = self.fds().take_all();
        drop(handlers);
        self.drop_queued();
    }

    fn drop_queued(self: &Rc<Self>) {
        loop {
            self.take_remote();
            let work = self.ready.borrow_mut().pop_before(u64::MAX);
            match work {
                // Homed tasks move on if their home has.
                Some(Work::Task(task)) if !task.metadata().runs_in(&self.context) => {
                    task.schedule();
                }
                Some(work) => drop(work),
                None => return,
            }
        }
    }
}
