//! The io_uring of a loop.
//!
//! **Fenced module.** The proof is the ring's table, which owns memory and file of an operation for
//! as long as the kernel knows of it. The kernel reads and writes that memory until it posts the
//! completion. So the operation, not the future that waits for it, owns that memory and the
//! file: both sit in the ring's table from before the submission entry is written until after the
//! completion is read. A future holds only the [`Key`] of its operation. When it is dropped, the
//! operation is cancelled and stays in the table until the kernel is done. When the ring ends, it
//! waits for all operations; if it cannot, it leaks them.
//!
//! Entries are collected and submitted once per turn of the loop, by the same system call that
//! waits. Wake-ups of other threads arrive on the ring too, as a multishot poll of the wake-up
//! descriptor that is never read; and so does the readiness of watched descriptors, as a poll of
//! the loop's epoll descriptor.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use io_uring::{IoUring, cqueue, opcode, squeue, types};
use rustix::io::{Errno, ReadWriteFlags};

use super::AioContext;
use super::slots::{Key, Slots};
use crate::buffer::{Place, TransferIn, TransferOut};
use crate::linger::Lingering;

/// Submission entries; more operations than this just mean more system calls.
const ENTRIES: u32 = 256;
/// Completion entries. The kernel keeps what does not fit, at some cost.
const COMPLETIONS: u32 = 4 * ENTRIES;
/// The kernel transfers no more than this at a time anyway.
const MAX_TRANSFER: usize = 0x7fff_f000;
/// `RWF_DSYNC`: the write ends when its data is durable.
const WRITE_THROUGH: i32 = ReadWriteFlags::DSYNC.bits().cast_signed();

// Marks of completions that are not an operation's. `Key` leaves the top indices out.
const WAKE: u64 = u64::MAX - 1;
const FDS: u64 = u64::MAX - 2;
const CANCEL: u64 = u64::MAX - 3;

/// Whether a loop has a ring, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RingStatus {
    Available,
    /// The loop was made without one.
    NotWanted,
    /// The kernel has io_uring, but lacks something needed here.
    TooOld,
    /// The kernel's error number.
    Refused(i32),
}

impl RingStatus {
    pub(super) fn error(self) -> Option<io::Error> {
        let unsupported = |text| Some(io::Error::new(io::ErrorKind::Unsupported, text));
        match self {
            RingStatus::Available => None,
            RingStatus::NotWanted => unsupported("io_uring is switched off for this event loop"),
            RingStatus::TooOld => unsupported("io_uring of this kernel is too old; 5.13 is needed"),
            RingStatus::Refused(errno) => Some(io::Error::from_raw_os_error(errno)),
        }
    }
}

/// What an operation does, with the memory it does it to.
pub(crate) enum Payload {
    Read(TransferIn),
    Write {
        memory: TransferOut,
        /// The data is durable when the write is done (`FUA`).
        durable: bool,
    },
    Sync {
        data_only: bool,
    },
}

/// What an operation whose future is gone keeps until the kernel is done.
pub(crate) type Keep = Box<Lingering>;

/// The end of an operation: the kernel's answer, and the memory back.
pub(crate) struct Outcome {
    pub(crate) result: io::Result<usize>,
    pub(crate) payload: Payload,
    /// Set if the future is gone. Declared last: dropped after the memory.
    keep: Option<Keep>,
}

impl Outcome {
    pub(super) fn new(result: io::Result<usize>, payload: Payload) -> Outcome {
        Outcome {
            result,
            payload,
            keep: None,
        }
    }

    /// For a future that is gone.
    pub(super) fn with_keep(mut self, keep: Option<Keep>) -> Outcome {
        self.keep = keep;
        self
    }
}

/// What [`Ring::next_completed`] found.
pub(super) enum Completed {
    /// Watched descriptors are ready.
    FdsReady,
    /// An operation is done and waits to be [polled](Ring::poll). Wake its future.
    Here(Option<Waker>),
    /// An operation is done whose future is polled in another context.
    Elsewhere(Key, Outcome),
    /// An operation is done whose future is gone.
    Abandoned(Outcome),
}

/// What [`Ring::poll`] found.
pub(super) enum Progress {
    Done(Outcome),
    Waiting,
    /// As `Waiting`, and another waker must be [set](Ring::set_waker).
    NewWaker,
}

/// What [`Ring::abandon`] leaves.
#[must_use = "to be dropped when nothing is borrowed"]
pub(super) struct Abandoned {
    _waker: Option<Waker>,
    _outcome: Option<Outcome>,
    _keep: Option<Keep>,
}

struct Op {
    payload: Payload,
    /// Keeps the descriptor's number from being reused before the entry is submitted.
    _fd: Arc<OwnedFd>,
    state: State,
    /// Set when the future is gone.
    keep: Option<Keep>,
}

enum State {
    InFlight(Waiter),
    Done(i32),
}

enum Waiter {
    Here(Option<Waker>),
    Elsewhere,
    Nobody,
}

impl Op {
    fn outcome(self, result: i32) -> Outcome {
        Outcome {
            result: usize::try_from(result)
                .map_err(|_| io::Error::from_raw_os_error(result.wrapping_neg())),
            payload: self.payload,
            keep: self.keep,
        }
    }
}

/// An io_uring and its operations.
pub(super) struct Ring {
    uring: IoUring,
    ops: Slots<Op>,
    in_flight: usize,
    /// Entries that found the submission queue full.
    backlog: VecDeque<squeue::Entry>,
    wake_armed: bool,
    fds_armed: bool,
}

impl Ring {
    /// A ring for the calling thread, or why there is none.
    pub(super) fn new() -> (Option<Ring>, RingStatus) {
        let uring = match build() {
            Ok(uring) => uring,
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(Errno::NOSYS.raw_os_error());
                return (None, RingStatus::Refused(errno));
            }
        };
        let parameters = uring.params();
        // Resource tags came together with multishot polls, which have no flag of their own.
        let recent = parameters.is_feature_ext_arg()
            && parameters.is_feature_nodrop()
            && parameters.is_feature_resource_tagging();
        if !recent {
            return (None, RingStatus::TooOld);
        }
        let ring = Ring {
            uring,
            ops: Slots::new(),
            in_flight: 0,
            backlog: VecDeque::new(),
            wake_armed: false,
            fds_armed: false,
        };
        (Some(ring), RingStatus::Available)
    }

    /// Queues an operation at `offset` of `fd`. It is submitted with the next turn of the loop.
    pub(super) fn start(
        &mut self,
        payload: Payload,
        fd: Arc<OwnedFd>,
        offset: u64,
        waker: Waker,
    ) -> Key {
        let raw = types::Fd(fd.as_raw_fd());
        let key = self.ops.insert(Op {
            payload,
            _fd: fd,
            state: State::InFlight(Waiter::Here(Some(waker))),
            keep: None,
        });
        let op = self.ops.get_mut(key).expect("inserted just now");
        let entry = match &mut op.payload {
            Payload::Read(memory) => match memory.place() {
                Place::One(start, len) => opcode::Read::new(raw, start, capped(len))
                    .offset(offset)
                    .build(),
                Place::Many(vectors, count) => {
                    opcode::Readv::new(raw, vectors.cast(), count as u32)
                        .offset(offset)
                        .build()
                }
            },
            Payload::Write { memory, durable } => {
                let flags = if *durable { WRITE_THROUGH } else { 0 };
                match memory.place() {
                    Place::One(start, len) => opcode::Write::new(raw, start, capped(len))
                        .offset(offset)
                        .rw_flags(flags)
                        .build(),
                    Place::Many(vectors, count) => {
                        opcode::Writev::new(raw, vectors.cast(), count as u32)
                            .offset(offset)
                            .rw_flags(flags)
                            .build()
                    }
                }
            }
            Payload::Sync { data_only } => {
                let mut flags = types::FsyncFlags::empty();
                flags.set(types::FsyncFlags::DATASYNC, *data_only);
                opcode::Fsync::new(raw).flags(flags).build()
            }
        };
        self.in_flight += 1;
        self.push(entry.user_data(key.as_u64()));
        key
    }

    /// The state of an operation; its outcome can be taken once.
    pub(super) fn poll(&mut self, key: Key, waker: &Waker) -> Progress {
        let op = self
            .ops
            .get_mut(key)
            .expect("an op lives as long as its future");
        match &op.state {
            State::Done(result) => {
                let result = *result;
                let op = self.ops.remove(key).expect("found above");
                Progress::Done(op.outcome(result))
            }
            State::InFlight(Waiter::Here(Some(known))) if known.will_wake(waker) => {
                Progress::Waiting
            }
            State::InFlight(_) => Progress::NewWaker,
        }
    }

    /// Sets who is woken by an operation in flight. Returns the waker before, to be dropped by the
    /// caller when nothing is borrowed.
    pub(super) fn set_waker(&mut self, key: Key, waker: Waker) -> Option<Waker> {
        match self.ops.get_mut(key).map(|op| &mut op.state) {
            Some(State::InFlight(Waiter::Here(slot))) => slot.replace(waker),
            _ => Some(waker),
        }
    }

    /// The future of the operation is gone: cancels it, or frees it if it is done. Either way `keep`
    /// is dropped after the operation. What is returned is to be dropped by the caller when nothing
    /// is borrowed.
    pub(super) fn abandon(&mut self, key: Key, keep: Option<Keep>) -> Abandoned {
        let mut left = Abandoned {
            _waker: None,
            _outcome: None,
            _keep: None,
        };
        let Some(op) = self.ops.get_mut(key) else {
            left._keep = keep;
            return left;
        };
        match &mut op.state {
            State::Done(result) => {
                let result = *result;
                let op = self.ops.remove(key).expect("found above");
                left._outcome = Some(op.outcome(result).with_keep(keep));
            }
            State::InFlight(waiter) => {
                op.keep = keep;
                if let Waiter::Here(waker) = std::mem::replace(waiter, Waiter::Nobody) {
                    left._waker = waker;
                }
                self.cancel(key);
            }
        }
        left
    }

    /// The future of the operation is now polled in another context. Returns the outcome if it is
    /// there already; else it comes as [`Completed::Elsewhere`]. The waker as in `abandon`.
    pub(super) fn forward(&mut self, key: Key) -> (Option<Waker>, Option<Outcome>) {
        let Some(op) = self.ops.get_mut(key) else {
            return (None, None);
        };
        match &mut op.state {
            State::Done(result) => {
                let result = *result;
                let op = self.ops.remove(key).expect("found above");
                (None, Some(op.outcome(result)))
            }
            State::InFlight(waiter @ Waiter::Here(_)) => {
                match std::mem::replace(waiter, Waiter::Elsewhere) {
                    Waiter::Here(waker) => (waker, None),
                    Waiter::Elsewhere | Waiter::Nobody => (None, None),
                }
            }
            State::InFlight(_) => (None, None),
        }
    }

    /// Submits what is queued, without waiting. No system call when there is nothing to do.
    pub(super) fn submit(&mut self, context: &AioContext, watch_fds: bool) {
        self.arm(context, watch_fds);
        self.flush_backlog();
        let queue = self.uring.submission();
        if !queue.is_empty() || queue.taskrun() || queue.cq_overflow() {
            drop(queue);
            self.enter();
        }
    }

    /// Submits what is queued and waits for a completion, in one system call. `true` says that the
    /// time ran out, `false` nothing.
    pub(super) fn wait(
        &mut self,
        context: &AioContext,
        watch_fds: bool,
        timeout: Option<Duration>,
    ) -> bool {
        self.arm(context, watch_fds);
        if !self.flush_backlog() {
            // The kernel is short of something; what is in flight will free it.
            self.enter();
            return false;
        }
        let timespec = timeout.map(types::Timespec::from);
        let mut arguments = types::SubmitArgs::new();
        if let Some(timespec) = &timespec {
            arguments = arguments.timespec(timespec);
        }
        // When it submits something and then runs out of time, the kernel reports the former.
        match self.uring.submitter().submit_with_args(1, &arguments) {
            Ok(_) => false,
            Err(error) if Errno::from_io_error(&error) == Some(Errno::TIME) => true,
            Err(error) if is_passing(&error) => false,
            Err(error) => panic!("waiting on the loop's io_uring failed: {error}"),
        }
    }

    /// The next completion that concerns anybody outside this module.
    pub(super) fn next_completed(&mut self) -> Option<Completed> {
        let mut fetched = false;
        loop {
            let completion = self.uring.completion().next();
            if let Some(completion) = completion {
                if let Some(completed) = self.digest(&completion) {
                    return Some(completed);
                }
                continue;
            }
            if fetched || !self.uring.submission().cq_overflow() {
                return None;
            }
            // The kernel kept back what did not fit, and hands it out now that there is room.
            self.enter();
            fetched = true;
        }
    }

    fn digest(&mut self, completion: &cqueue::Entry) -> Option<Completed> {
        match completion.user_data() {
            CANCEL => None,
            WAKE => {
                self.wake_armed = cqueue::more(completion.flags());
                None
            }
            FDS => {
                self.fds_armed = false;
                (completion.result() >= 0).then_some(Completed::FdsReady)
            }
            key => self.complete(Key::from_u64(key), completion.result()),
        }
    }

    fn complete(&mut self, key: Key, result: i32) -> Option<Completed> {
        let op = self.ops.get_mut(key)?;
        self.in_flight -= 1;
        match std::mem::replace(&mut op.state, State::Done(result)) {
            State::InFlight(Waiter::Here(waker)) => Some(Completed::Here(waker)),
            State::InFlight(Waiter::Elsewhere) => {
                let op = self.ops.remove(key)?;
                Some(Completed::Elsewhere(key, op.outcome(result)))
            }
            State::InFlight(Waiter::Nobody) => {
                let op = self.ops.remove(key)?;
                Some(Completed::Abandoned(op.outcome(result)))
            }
            State::Done(_) => None,
        }
    }

    /// Cancels and awaits everything. Returns the outcomes that a future may still come for, each
    /// with the waker to wake.
    pub(super) fn finish(&mut self) -> Vec<(Key, Option<Waker>, Option<Outcome>)> {
        let mut unclaimed = Vec::new();
        let in_flight: Vec<Key> = self.ops.keys().collect();
        for key in in_flight {
            let op = self.ops.get_mut(key);
            if op.is_some_and(|op| matches!(op.state, State::InFlight(_))) {
                self.cancel(key);
            }
        }
        while self.in_flight > 0 {
            self.flush_backlog();
            match self.uring.submitter().submit_and_wait(1) {
                Ok(_) => {}
                Err(error) if is_passing(&error) => {}
                Err(_) => {
                    // Whether the kernel still uses the memory cannot be known.
                    std::mem::forget(std::mem::replace(&mut self.ops, Slots::new()));
                    self.in_flight = 0;
                    return unclaimed;
                }
            }
            while let Some(completed) = self.next_completed() {
                match completed {
                    Completed::Here(Some(waker)) => {
                        unclaimed.push((Key::NONE, Some(waker), None));
                    }
                    Completed::Elsewhere(key, outcome) => {
                        unclaimed.push((key, None, Some(outcome)));
                    }
                    Completed::Abandoned(outcome) => {
                        unclaimed.push((Key::NONE, None, Some(outcome)));
                    }
                    Completed::Here(None) | Completed::FdsReady => {}
                }
            }
        }
        for (key, op) in self.ops.take_all() {
            if let State::Done(result) = op.state {
                unclaimed.push((key, None, Some(op.outcome(result))));
            }
        }
        unclaimed
    }

    /// Makes sure that wake-ups, and watched descriptors if there are any, show on the ring.
    fn arm(&mut self, context: &AioContext, watch_fds: bool) {
        let readable = rustix::event::PollFlags::IN.bits().into();
        if !self.wake_armed {
            self.wake_armed = true;
            let fd = types::Fd(context.alarm().fd().as_raw_fd());
            let entry = opcode::PollAdd::new(fd, readable).multi(true).build();
            self.push(entry.user_data(WAKE));
        }
        if watch_fds && !self.fds_armed {
            self.fds_armed = true;
            let fd = types::Fd(context.epoll().as_raw_fd());
            let entry = opcode::PollAdd::new(fd, readable).build();
            self.push(entry.user_data(FDS));
        }
    }

    fn cancel(&mut self, key: Key) {
        let entry = opcode::AsyncCancel::new(key.as_u64()).build();
        self.push(entry.user_data(CANCEL));
    }

    /// Queues `entry`. Every entry is made in this module, and what an operation's entry points to
    /// is in `ops` under the entry's key.
    fn push(&mut self, entry: squeue::Entry) {
        self.backlog.push_back(entry);
        self.flush_backlog();
    }

    /// Moves the backlog to the submission queue. Returns whether all of it fitted.
    fn flush_backlog(&mut self) -> bool {
        while let Some(entry) = self.backlog.front() {
            // SAFETY: memory and descriptor of an operation are owned by its `Op`, which stays in
            // `ops` until `complete` has seen its completion, or is leaked by `finish`. Moving the
            // `Op` within the table moves no memory the kernel sees: transfers own shares of heap
            // memory. The other entries point to no memory; their descriptors belong to the
            // context, which outlives the ring.
            if unsafe { self.uring.submission().push(entry) }.is_ok() {
                self.backlog.pop_front();
                continue;
            }
            self.enter();
            if self.uring.submission().is_full() {
                return false;
            }
        }
        true
    }

    /// Submits without waiting. Errors that pass are left to the next turn.
    fn enter(&self) {
        if let Err(error) = self.uring.submit()
            && !is_passing(&error)
        {
            panic!("submitting to the loop's io_uring failed: {error}");
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let unclaimed = self.finish();
        drop(unclaimed);
    }
}

fn capped(len: usize) -> u32 {
    len.min(MAX_TRANSFER) as u32
}

/// Errors of `io_uring_enter` that say "later": a signal, no memory, completions to be read first.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::INTR | Errno::AGAIN | Errno::BUSY | Errno::TIME | Errno::NOMEM)
    )
}

/// The best ring the kernel offers: completions worked off by this thread when it asks for them
/// (6.1), else without interrupting it (5.19), else as they come.
fn build() -> io::Result<IoUring> {
    let mut best = IoUring::builder();
    best.setup_cqsize(COMPLETIONS).setup_submit_all();
    let mut cooperative = best.clone();
    best.setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag();
    cooperative.setup_coop_taskrun().setup_taskrun_flag();
    let mut plain = IoUring::builder();
    plain.setup_cqsize(COMPLETIONS);
    for builder in [best, cooperative] {
        match builder.build(ENTRIES) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => {}
            built => return built,
        }
    }
    plain.build(ENTRIES)
}
