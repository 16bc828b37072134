//! File descriptor handlers.

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::io::Errno;

use super::context::with_current;
use super::event_loop::Local;
use super::ready::{Upkeep, Work};
use super::slots::{Key, Slots};
use super::{AioContext, AioError, HomeThread};

/// Which events a handler waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Data can be read, or the other side has closed.
    pub readable: bool,
    /// Data can be written.
    pub writable: bool,
}

impl Interest {
    /// Readable.
    pub const READ: Interest = Interest {
        readable: true,
        writable: false,
    };
    /// Writable.
    pub const WRITE: Interest = Interest {
        readable: false,
        writable: true,
    };
    /// Either.
    pub const BOTH: Interest = Interest {
        readable: true,
        writable: true,
    };

    fn flags(self) -> EventFlags {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN | EventFlags::RDHUP, self.readable);
        flags.set(EventFlags::OUT, self.writable);
        flags
    }
}

/// What a descriptor is ready for. Errors and hang-ups are reported whatever the interest was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// Data can be read, or the other side has closed.
    pub readable: bool,
    /// Data can be written.
    pub writable: bool,
    /// There is an error to collect.
    pub error: bool,
    /// The other side is gone.
    pub hang_up: bool,
}

impl Ready {
    const NOTHING: Ready = Ready {
        readable: false,
        writable: false,
        error: false,
        hang_up: false,
    };

    fn add(&mut self, flags: EventFlags) {
        self.readable |= flags.intersects(EventFlags::IN | EventFlags::RDHUP);
        self.writable |= flags.contains(EventFlags::OUT);
        self.error |= flags.contains(EventFlags::ERR);
        self.hang_up |= flags.contains(EventFlags::HUP);
    }
}

/// A handler stays installed for as long as this lives.
///
/// It may be dropped on any thread. On the home thread the handler is not called any more when the
/// drop returns (unless it is running, further down the stack). Dropped elsewhere, a call that has
/// begun, or is about to, may still run to its end.
#[must_use = "dropping it removes the handler"]
pub struct FdRegistration {
    context: AioContext,
    key: Key,
    fd: Arc<WatchedFd>,
}

impl Drop for FdRegistration {
    fn drop(&mut self) {
        // In this order: a loop that is about to watch the descriptor again does so first and looks
        // at the flag then, so that one of us removes it.
        self.fd.removed.store(true, Ordering::SeqCst);
        // Fails only when the descriptor is not watched for the time, its handler being busy.
        let _ = epoll::delete(self.context.epoll(), self.fd.fd.as_fd());
        let here = with_current(|local| {
            local
                .filter(|local| *local.context() == self.context)
                .map(|local| local.fds().forget(self.key))
        });
        if here.is_none() && !self.context.is_closed() {
            let upkeep = Upkeep::ForgetFd(self.key);
            self.context.submit_remote(Work::Upkeep(upkeep));
        }
    }
}

impl fmt::Debug for FdRegistration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FdRegistration")
            .field("context", &self.context)
            .field("fd", &self.fd.fd.as_fd())
            .finish()
    }
}

/// Keeps the descriptor open while it is watched, so that its number cannot be reused.
struct WatchedFd {
    fd: Arc<dyn AsFdSync>,
    /// The registration is gone, though the loop may not have heard of it yet.
    removed: AtomicBool,
}

/// `AsFd` of a thread-safe owner.
trait AsFdSync: AsFd + Send + Sync {}

impl<F: AsFd + Send + Sync> AsFdSync for F {}

pub(super) type Handler = Box<dyn FnMut(&mut HomeThread<'_>, Ready) + Send>;

struct Watched {
    fd: Arc<WatchedFd>,
    interest: Interest,
    /// What was reported since the handler ran last; not nothing while the key is in the queue.
    ready: Ready,
    /// Taken out while it runs.
    handler: Option<Handler>,
    /// The kernel does not watch the descriptor for now, see [`FdTable::collect`].
    suspended: bool,
}

/// The watched descriptors of one loop.
pub(super) struct FdTable {
    watched: Slots<Watched>,
    /// Whose handlers are to be called.
    pending: VecDeque<Key>,
    events: Vec<Event>,
}

/// Marks the events of the descriptor that wakes the loop.
const WAKE: u64 = u64::MAX - 1;

/// Events fetched per system call.
const BATCH: usize = 64;

impl FdTable {
    pub(super) fn new() -> Self {
        FdTable {
            watched: Slots::new(),
            pending: VecDeque::new(),
            events: Vec::with_capacity(BATCH),
        }
    }

    /// Lets wake-ups end [`wait`](Self::wait). Edge-triggered, so nobody has to read them.
    pub(super) fn watch_wake_fd(
        &self,
        epoll: &OwnedFd,
        wake_fd: &OwnedFd,
    ) -> rustix::io::Result<()> {
        let flags = EventFlags::IN | EventFlags::ET;
        epoll::add(epoll, wake_fd, EventData::new_u64(WAKE), flags)
    }

    pub(super) fn wants_events(&self) -> bool {
        !self.watched.is_empty()
    }

    pub(super) fn none_pending(&self) -> bool {
        self.pending.is_empty()
    }

    /// Fetches events without waiting.
    pub(super) fn collect(&mut self, epoll: &OwnedFd) {
        self.wait(epoll, Some(Duration::ZERO));
    }

    /// Fetches events, waiting for the first. Returns whether the time ran out.
    pub(super) fn wait(&mut self, epoll: &OwnedFd, timeout: Option<Duration>) -> bool {
        // A timeout that does not fit is for ever; the caller waits again after a wake-up.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        self.events.clear();
        let buffer = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(epoll, buffer, timeout.as_ref()) {
            Ok(0) => return true,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => panic!("epoll_wait on the loop's own descriptor failed: {error}"),
        }
        for index in 0..self.events.len() {
            let Event { flags, data, .. } = self.events[index];
            if data.u64() != WAKE {
                self.note(epoll, Key::from_u64(data.u64()), flags);
            }
        }
        false
    }

    fn note(&mut self, epoll: &OwnedFd, key: Key, flags: EventFlags) {
        // Nothing: it was removed after the kernel had reported it.
        let Some(watched) = self.watched.get_mut(key) else {
            return;
        };
        if watched.handler.is_none() {
            // Its handler runs further down the stack and polls. The kernel would report the event
            // for ever, and the nested poll would spin, so it is not watched until the handler
            // returns.
            watched.suspended |= epoll::delete(epoll, watched.fd.fd.as_fd()).is_ok();
            return;
        }
        if watched.ready == Ready::NOTHING {
            self.pending.push_back(key);
        }
        watched.ready.add(flags);
    }

    /// Takes the next pending handler out, to be called.
    fn begin_call(&mut self) -> Option<(Key, Ready, Handler)> {
        loop {
            let key = self.pending.pop_front()?;
            if let Some(watched) = self.watched.get_mut(key)
                && !watched.fd.removed.load(Ordering::Relaxed)
                && let Some(handler) = watched.handler.take()
            {
                let ready = std::mem::replace(&mut watched.ready, Ready::NOTHING);
                return Some((key, ready, handler));
            }
        }
    }

    /// Puts a handler back; returns it when it was removed meanwhile.
    fn end_call(&mut self, epoll: &OwnedFd, key: Key, handler: Handler) -> Option<Handler> {
        let Some(watched) = self.watched.get_mut(key) else {
            return Some(handler);
        };
        watched.handler = Some(handler);
        if std::mem::take(&mut watched.suspended) {
            let data = EventData::new_u64(key.as_u64());
            // It was watched before, so only a shortage of memory can make this fail; then the
            // handler hears nothing more, as if the descriptor were silent.
            let fd = watched.fd.fd.as_fd();
            let _ = epoll::add(epoll, fd, data, watched.interest.flags());
            if watched.fd.removed.load(Ordering::SeqCst) {
                let _ = epoll::delete(epoll, fd);
            }
        }
        None
    }

    /// Takes out what is left of a registration, to be dropped by the caller.
    pub(super) fn forget(&mut self, key: Key) -> Option<impl Sized + use<>> {
        self.watched.remove(key)
    }

    /// Takes all registrations out, to be dropped by the caller.
    pub(super) fn take_all(&mut self) -> impl Sized + use<> {
        self.watched.take_all()
    }
}

pub(super) fn watch<F>(
    local: &Rc<Local>,
    fd: Arc<F>,
    interest: Interest,
    handler: Handler,
) -> Result<FdRegistration, AioError>
where
    F: AsFd + Send + Sync + 'static,
{
    let fd = Arc::new(WatchedFd {
        fd,
        removed: AtomicBool::new(false),
    });
    let context = local.context().clone();
    let key = local.fds().watched.insert(Watched {
        fd: Arc::clone(&fd),
        interest,
        ready: Ready::NOTHING,
        handler: Some(handler),
        suspended: false,
    });
    let data = EventData::new_u64(key.as_u64());
    if let Err(error) = epoll::add(context.epoll(), fd.fd.as_fd(), data, interest.flags()) {
        let refused = local.fds().forget(key);
        drop(refused);
        return Err(AioError::Watch {
            name: context.name().to_owned(),
            source: error.into(),
        });
    }
    Ok(FdRegistration { context, key, fd })
}

impl Local {
    /// Calls the handlers of the descriptors that were ready when the events were collected.
    pub(super) fn call_fd_handlers(self: &Rc<Self>) -> bool {
        let calls = self.fds().pending.len();
        for call in 0..calls {
            let next = self.fds().begin_call();
            let Some((key, ready, handler)) = next else {
                return call > 0;
            };
            let mut call = Call {
                local: self,
                key,
                handler: Some(handler),
            };
            if let Some(handler) = &mut call.handler {
                handler(&mut HomeThread::new(self), ready);
            }
        }
        calls > 0
    }
}

/// Puts a handler back after its call, also when it panicked.
struct Call<'a> {
    local: &'a Rc<Local>,
    key: Key,
    handler: Option<Handler>,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if let Some(handler) = self.handler.take() {
            let epoll = self.local.context().epoll();
            let removed = self.local.fds().end_call(epoll, self.key, handler);
            drop(removed);
        }
    }
}
