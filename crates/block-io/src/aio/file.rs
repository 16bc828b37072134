//! Reading, writing and flushing files from tasks.
//!
//! Two engines do the work: the io_uring of the current context, and the process's worker threads.
//! Either owns the memory and the file until the operation is over, so that dropping a future
//! early is safe: the operation is cancelled if possible, and its memory stays alive and out of
//! reach until the kernel is done.
//!
//! **Where a future may be polled.** The first poll submits the operation: to the ring of the
//! context it runs in, or to the worker threads. Later polls may happen in any other context, or on
//! a thread without one, as for a task whose [`Home`](super::Home) moves while it waits. Then the
//! result is passed on by the loop that has the ring. When that loop ends, it cancels the operation,
//! waits for it, and leaves the result for the future.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use rustix::io::{Errno, ReadWriteFlags};

use super::context::with_current;
use super::event_loop::Local;
use super::ready::{Upkeep, Work};
use super::slots::Key;
use super::uring::Progress;
pub(crate) use super::uring::{Keep, Outcome, Payload};
use super::{AioContext, Blocking, run_blocking};
use crate::buffer::{TransferIn, TransferOut};

/// Who carries out file operations (`aio=io_uring`, `aio=threads`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// The io_uring of the context in which the operation is first polled.
    IoUring,
    /// The worker threads of the process.
    Threads,
}

impl Engine {
    /// The faster engine that the current context has: its io_uring, else the worker threads.
    pub fn best() -> Engine {
        if Engine::IoUring.is_available() {
            Engine::IoUring
        } else {
            Engine::Threads
        }
    }

    /// Whether the engine works in the current context. [`AioContext::io_uring_error`] says why
    /// not.
    pub fn is_available(self) -> bool {
        match self {
            Engine::Threads => true,
            Engine::IoUring => {
                with_current(|local| local.is_some_and(|local| local.context().has_io_uring()))
            }
        }
    }
}

/// Reads at `offset` into `memory`. Resolves to the number of bytes, which may be less than asked
/// for and is 0 at the end of the file, and the memory.
///
/// The result is `InvalidInput` when `offset` is beyond what a file can have, and says so when the
/// context has no io_uring that `engine` asks for.
pub fn read_at(engine: Engine, fd: Arc<OwnedFd>, memory: TransferIn, offset: u64) -> ReadAt {
    ReadAt(FileOp::new(engine, fd, Payload::Read(memory), offset))
}

/// Writes `memory` at `offset`, and makes it durable if `durable` (`RWF_DSYNC`). Resolves to the
/// number of bytes, which may be less than asked for, and the memory. Errors as [`read_at`].
pub fn write_at(
    engine: Engine,
    fd: Arc<OwnedFd>,
    memory: TransferOut,
    offset: u64,
    durable: bool,
) -> WriteAt {
    let payload = Payload::Write { memory, durable };
    WriteAt(FileOp::new(engine, fd, payload, offset))
}

/// Makes what was written before durable: data and what is needed to read it back if `data_only`
/// (`fdatasync`), else all metadata too (`fsync`).
pub fn fsync(engine: Engine, fd: Arc<OwnedFd>, data_only: bool) -> Fsync {
    Fsync(FileOp::new(engine, fd, Payload::Sync { data_only }, 0))
}

/// See [`read_at`].
#[must_use = "futures do nothing unless awaited"]
pub struct ReadAt(FileOp);

impl Future for ReadAt {
    type Output = (io::Result<usize>, TransferIn);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(self.0.poll(cx));
        match outcome.payload {
            Payload::Read(memory) => Poll::Ready((outcome.result, memory)),
            Payload::Write { .. } | Payload::Sync { .. } => unreachable!("a read stays a read"),
        }
    }
}

/// See [`write_at`].
#[must_use = "futures do nothing unless awaited"]
pub struct WriteAt(FileOp);

impl Future for WriteAt {
    type Output = (io::Result<usize>, TransferOut);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(self.0.poll(cx));
        match outcome.payload {
            Payload::Write { memory, .. } => Poll::Ready((outcome.result, memory)),
            Payload::Read(_) | Payload::Sync { .. } => unreachable!("a write stays a write"),
        }
    }
}

/// See [`fsync`].
#[must_use = "futures do nothing unless awaited"]
pub struct Fsync(FileOp);

impl Future for Fsync {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(self.0.poll(cx));
        Poll::Ready(outcome.result.map(drop))
    }
}

macro_rules! debug_by_name {
    ($($name:ident)*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )*};
}

debug_by_name!(ReadAt WriteAt Fsync);

/// An operation, from before it is submitted to its outcome.
pub(crate) enum FileOp {
    New {
        engine: Engine,
        fd: Arc<OwnedFd>,
        payload: Payload,
        offset: u64,
    },
    Ring(RingOp),
    Threads(Blocking<Outcome>),
    Done,
}

impl FileOp {
    pub(crate) fn new(engine: Engine, fd: Arc<OwnedFd>, payload: Payload, offset: u64) -> Self {
        FileOp::New {
            engine,
            fd,
            payload,
            offset,
        }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        loop {
            match self {
                FileOp::New { .. } => {
                    if let Err(outcome) = self.start(cx) {
                        return Poll::Ready(outcome);
                    }
                    if matches!(self, FileOp::Ring(_)) {
                        return Poll::Pending;
                    }
                }
                FileOp::Ring(op) => {
                    let outcome = ready!(op.poll(cx));
                    *self = FileOp::Done;
                    return Poll::Ready(outcome);
                }
                FileOp::Threads(work) => {
                    let outcome = ready!(Pin::new(work).poll(cx));
                    *self = FileOp::Done;
                    return Poll::Ready(outcome);
                }
                FileOp::Done => panic!("polled after it was ready"),
            }
        }
    }

    /// Nobody waits for the operation any more. If it may be going on, it is cancelled, and keeps
    /// what `keep` makes until it has ended.
    pub(crate) fn abandon(self, keep: impl FnOnce() -> Keep) {
        match self {
            FileOp::New { .. } | FileOp::Done => {}
            FileOp::Ring(mut op) => op.abandon(Some(keep())),
            FileOp::Threads(work) => work.abandon(keep()),
        }
    }

    /// Submits the operation, or fails with the memory given back.
    fn start(&mut self, cx: &mut Context<'_>) -> Result<(), Outcome> {
        let FileOp::New {
            engine,
            fd,
            payload,
            offset,
        } = std::mem::replace(self, FileOp::Done)
        else {
            unreachable!("called for a new operation only");
        };
        // Beyond this the kernel takes the number for a negative one, or for "where the file's own
        // position is".
        if i64::try_from(offset).is_err() {
            let result = Err(io::ErrorKind::InvalidInput.into());
            return Err(Outcome::new(result, payload));
        }
        *self = match engine {
            Engine::Threads => {
                FileOp::Threads(run_blocking(move || run_here(&fd, payload, offset)))
            }
            Engine::IoUring => FileOp::Ring(RingOp::start(fd, payload, offset, cx.waker())?),
        };
        Ok(())
    }
}

/// Carries out an operation by blocking system calls.
fn run_here(fd: &OwnedFd, mut payload: Payload, offset: u64) -> Outcome {
    let result = loop {
        let result = match &mut payload {
            Payload::Read(memory) => match &mut *memory.io_slices() {
                [only] => rustix::io::pread(fd, &mut **only, offset),
                several => rustix::io::preadv(fd, several, offset),
            },
            Payload::Write { memory, durable } => match (&*memory.io_slices(), *durable) {
                ([only], false) => rustix::io::pwrite(fd, only, offset),
                (several, false) => rustix::io::pwritev(fd, several, offset),
                (any, true) => rustix::io::pwritev2(fd, any, offset, ReadWriteFlags::DSYNC),
            },
            Payload::Sync { data_only: true } => rustix::fs::fdatasync(fd).map(|()| 0),
            Payload::Sync { data_only: false } => rustix::fs::fsync(fd).map(|()| 0),
        };
        if result != Err(Errno::INTR) {
            break result.map_err(io::Error::from);
        }
    };
    Outcome::new(result, payload)
}

/// Waits for an operation of a ring.
pub(crate) struct RingOp {
    origin: AioContext,
    key: Key,
    /// The result comes through [`Foreign`].
    forwarded: bool,
    finished: bool,
}

impl RingOp {
    fn start(
        fd: Arc<OwnedFd>,
        payload: Payload,
        offset: u64,
        waker: &Waker,
    ) -> Result<RingOp, Outcome> {
        let waker = waker.clone();
        let mut parts = Some((payload, fd, waker));
        let started = with_current(|local| {
            let local = local?;
            let mut ring = local.ring();
            let ring = ring.as_mut()?;
            let (payload, fd, waker) = parts.take()?;
            let key = ring.start(payload, fd, offset, waker);
            Some((local.context().clone(), key))
        });
        if let Some((origin, key)) = started {
            return Ok(RingOp {
                origin,
                key,
                forwarded: false,
                finished: false,
            });
        }
        let (payload, ..) = parts.expect("taken only to start");
        let error = match AioContext::current() {
            Some(context) => context
                .io_uring_error()
                .unwrap_or_else(|| Errno::CANCELED.into()),
            None => io::Error::new(
                io::ErrorKind::Unsupported,
                "io_uring was asked for on a thread that has entered no event loop",
            ),
        };
        Err(Outcome::new(Err(error), payload))
    }

    /// Does something with the ring, if this is its thread and the ring has the result.
    fn at_origin<R>(&self, access: impl FnOnce(&mut super::uring::Ring) -> R) -> Option<R> {
        if self.forwarded {
            return None;
        }
        with_current(|local| {
            let local = local.filter(|local| *local.context() == self.origin)?;
            local.ring().as_mut().map(access)
        })
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        match self.at_origin(|ring| ring.poll(self.key, cx.waker())) {
            None => self.poll_elsewhere(cx),
            Some(Progress::Waiting) => Poll::Pending,
            Some(Progress::NewWaker) => {
                let waker = cx.waker().clone();
                let before = self.at_origin(|ring| ring.set_waker(self.key, waker));
                drop(before);
                Poll::Pending
            }
            Some(Progress::Done(outcome)) => {
                self.finished = true;
                Poll::Ready(outcome)
            }
        }
    }

    fn poll_elsewhere(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        let key = self.key;
        let waker = cx.waker().clone();
        let (outcome, unused) =
            self.origin
                .with_foreign(|foreign| match foreign.results.remove(&key) {
                    Some(outcome) => {
                        let before = foreign.waiting.remove(&key);
                        (Some(outcome), (Some(waker), before))
                    }
                    None => (None, (None, foreign.waiting.insert(key, waker))),
                });
        drop(unused);
        if let Some(outcome) = outcome {
            self.finished = true;
            return Poll::Ready(outcome);
        }
        if !self.forwarded {
            self.forwarded = true;
            self.origin.submit(Work::Upkeep(Upkeep::ForwardOp(key)));
        }
        Poll::Pending
    }
}

impl RingOp {
    /// The future is gone. `keep` is dropped after the operation.
    fn abandon(&mut self, keep: Option<Keep>) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        let key = self.key;
        let mut keep = keep;
        if let Some(left) = self.at_origin(|ring| ring.abandon(key, keep.take())) {
            drop(left);
            return;
        }
        let (waker, outcome, tell) = self.origin.with_foreign(|foreign| {
            let waker = foreign.waiting.remove(&key);
            let outcome = foreign.results.remove(&key);
            let tell = outcome.is_none() && !foreign.closed;
            if tell {
                foreign.dropped.insert(key, keep.take());
            }
            (waker, outcome, tell)
        });
        drop(waker);
        match outcome {
            Some(outcome) => drop(outcome.with_keep(keep)),
            None if tell => self.origin.submit(Work::Upkeep(Upkeep::AbandonOp(key))),
            // The ring could not wait for the operation and has leaked it: it may never end.
            None => std::mem::forget(keep),
        }
    }
}

impl Drop for RingOp {
    fn drop(&mut self) {
        self.abandon(None);
    }
}

/// Operations of a ring whose futures are polled in other contexts.
#[derive(Default)]
pub(super) struct Foreign {
    /// Results that nobody has come for yet.
    results: HashMap<Key, Outcome>,
    /// Futures that wait for a result.
    waiting: HashMap<Key, Waker>,
    /// Futures that were dropped before the loop could hear of it, and what their operations keep.
    dropped: HashMap<Key, Option<Keep>>,
    /// The ring has ended; all results that will ever be are here.
    closed: bool,
}

impl Foreign {
    /// Takes a result in, and returns what is left to be dropped and woken without the lock.
    fn take_in(&mut self, key: Key, outcome: Outcome) -> (Option<Outcome>, Option<Waker>) {
        if let Some(keep) = self.dropped.remove(&key) {
            return (Some(outcome.with_keep(keep)), None);
        }
        self.results.insert(key, outcome);
        (None, self.waiting.remove(&key))
    }
}

/// Hands a result to a future in another context.
pub(super) fn deposit(context: &AioContext, key: Key, outcome: Outcome) {
    let (unwanted, waker) = context.with_foreign(|foreign| foreign.take_in(key, outcome));
    drop(unwanted);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// A future of this loop's ring is polled in another context from now on.
pub(super) fn forward(local: &Rc<Local>, key: Key) {
    let forwarded = local.ring().as_mut().map(|ring| ring.forward(key));
    if let Some((_waker, Some(outcome))) = forwarded {
        deposit(local.context(), key, outcome);
    }
}

/// A future of this loop's ring was dropped elsewhere.
pub(super) fn abandon(local: &Rc<Local>, key: Key) {
    let dropped = local
        .context()
        .with_foreign(|foreign| foreign.dropped.remove(&key));
    // Else the operation's end has come across it already.
    if let Some(mut keep) = dropped {
        let left = local
            .ring()
            .as_mut()
            .map(|ring| ring.abandon(key, keep.take()));
        drop(left);
    }
}

/// Ends the loop's ring, and leaves the results for futures that still exist.
pub(super) fn finish_all(local: &Rc<Local>) {
    let ring = local.ring().take();
    let unclaimed = match ring {
        Some(mut ring) => ring.finish(),
        None => Vec::new(),
    };
    let mut wakers = Vec::new();
    let mut unwanted = Vec::new();
    let mut leaked = HashMap::new();
    local.context().with_foreign(|foreign| {
        for (key, waker, outcome) in unclaimed {
            wakers.extend(waker);
            if let Some(outcome) = outcome {
                if key == Key::NONE {
                    unwanted.push(outcome);
                    continue;
                }
                let (left, waker) = foreign.take_in(key, outcome);
                unwanted.extend(left);
                wakers.extend(waker);
            }
        }
        foreign.closed = true;
        leaked = std::mem::take(&mut foreign.dropped);
    });
    // Of operations that the ring could not wait for.
    std::mem::forget(leaked);
    drop(unwanted);
    wakers.into_iter().for_each(Waker::wake);
}
