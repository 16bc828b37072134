//! Groups: one set of limits for several members, on any number of threads.
//!
//! [`Turns`] decides who may run. Here are the lock around it, the clock, the
//! wake-ups, and who asks for the next turn when its time comes: the
//! [timer](super::timer).
//!
//! **Who makes progress.** Whoever comes along lets all others run whose turn
//! has come: new requests, those that are dropped, changes of the limits, and
//! the timer. A request that has been let run is taken out of its queue and
//! counted there and then, so it does not matter when, or whether, its future
//! is polled again: a future that nobody polls keeps nobody else waiting.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use block_common::sync::Mutex;
use block_io::Request;
use block_io::aio::AioContext;

use super::config::{ThrottleConfig, ThrottleError};
use super::timer::{Armed, Change};
use super::turns::{MemberId, Ticket, Turns};
use super::{Direction, timer};

/// Limits that members share (`ThrottleGroup`). A handle: clones name the
/// same group.
#[derive(Clone)]
pub struct ThrottleGroup(Arc<Shared>);

/// A group.
pub(super) struct Shared {
    name: String,
    /// One bit per direction: whether it has limits. A hint: what it says is
    /// looked at again under the lock, unless it says no.
    limited: AtomicU8,
    epoch: Instant,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) turns: Turns<Waiter>,
    /// There is one while somebody waits.
    pub(super) timer: Option<Armed>,
}

/// What a group knows of a waiting request.
pub(super) struct Waiter {
    /// Gone once it was used.
    pub(super) waker: Option<Waker>,
    /// Where the timer goes when this request is the next; `None` if that
    /// loop has ended.
    pub(super) home: Option<AioContext>,
}

impl ThrottleGroup {
    /// A group without members.
    ///
    /// # Errors
    /// Those of [`ThrottleConfig::validate`].
    pub fn new(name: &str, config: ThrottleConfig) -> Result<ThrottleGroup, ThrottleError> {
        config.validate()?;
        let state = State {
            turns: Turns::new(config, Duration::ZERO),
            timer: None,
        };
        Ok(ThrottleGroup(Arc::new(Shared {
            name: name.to_owned(),
            limited: AtomicU8::new(limited(&config)),
            epoch: Instant::now(),
            state: Mutex::new(state),
        })))
    }

    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The limits.
    pub fn config(&self) -> ThrottleConfig {
        *self.0.state.lock().turns.config()
    }

    /// Replaces the limits, on any thread. Requests that wait go by the new
    /// ones at once. What was done before is not held against anybody: the
    /// buckets are empty again.
    ///
    /// # Errors
    /// Those of [`ThrottleConfig::validate`]; nothing has changed then.
    pub fn set_config(&self, config: ThrottleConfig) -> Result<(), ThrottleError> {
        config.validate()?;
        self.0.with(|turns, now, _| {
            turns.set_config(config, now);
            self.0.limited.store(limited(&config), Ordering::Relaxed);
        });
        Ok(())
    }

    /// How many requests wait, of all members. By the time it is looked at,
    /// others may.
    pub fn waiting(&self) -> usize {
        self.0.state.lock().turns.all().count()
    }
}

/// Two handles are equal when they name the same group.
impl PartialEq for ThrottleGroup {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for ThrottleGroup {}

impl fmt::Debug for ThrottleGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThrottleGroup")
            .field("name", &self.0.name)
            .field("config", &self.config())
            .finish()
    }
}

fn limited(config: &ThrottleConfig) -> u8 {
    let limited = |direction| config.limits_direction(direction);
    Direction::BOTH
        .into_iter()
        .filter(|direction| limited(*direction))
        .fold(0, |bits, direction| bits | bit(direction))
}

fn bit(direction: Direction) -> u8 {
    1 << direction as u8
}

impl Shared {
    /// The time of the buckets.
    pub(super) fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// The same time on the clock of the event loops.
    pub(super) fn instant(&self, time: Duration) -> Instant {
        self.epoch + time
    }

    pub(super) fn state(&self) -> &Mutex<State> {
        &self.state
    }

    /// Does `change` under the lock and lets everybody run who may. Wakers
    /// are called, and dropped, without the lock: they are foreign code.
    fn with<R>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Turns<Waiter>, Duration, &mut Vec<Waiter>) -> R,
    ) -> R {
        let mut released = Vec::new();
        let mut state = self.state.lock();
        // Under the lock, so that it does not run backwards.
        let now = self.now();
        let result = change(&mut state.turns, now, &mut released);
        let change = timer::settle(&mut state, now, &mut released);
        drop(state);
        wake(released);
        match change {
            Change::None => {}
            Change::Look(waker) => waker.wake(),
            Change::Arm(home) => timer::start(self, home),
        }
        result
    }
}

/// Wakes those who may run.
pub(super) fn wake(released: Vec<Waiter>) {
    for waiter in released {
        if let Some(waker) = waiter.waker {
            waker.wake();
        }
    }
}

/// A place in a group, for one node (`ThrottleGroupMember`). Dropping it
/// leaves the group.
#[derive(Debug)]
pub(super) struct Member {
    group: ThrottleGroup,
    id: MemberId,
}

impl Member {
    pub(super) fn of(group: ThrottleGroup) -> Self {
        let id = group.0.state.lock().turns.join();
        Member { group, id }
    }

    pub(super) fn group(&self) -> &ThrottleGroup {
        &self.group
    }

    /// Whether the request may run without waiting. It has been counted then.
    pub(super) fn pass(&self, direction: Direction, bytes: u64) -> bool {
        let shared = &self.group.0;
        if shared.limited.load(Ordering::Relaxed) & bit(direction) == 0 {
            return true;
        }
        shared.with(|turns, now, released| turns.pass(self.id, direction, bytes, now, released))
    }

    /// Waits until the request may run. It is counted when it may
    /// (`throttle_group_co_io_limits_intercept`).
    pub(super) fn admit<'r>(
        &'r self,
        request: Request<'r>,
        direction: Direction,
        bytes: u64,
    ) -> Admission<'r> {
        Admission {
            member: self,
            request,
            direction,
            bytes,
            place: Place::None,
        }
    }

    /// Requests of this member do not wait any more, those that do no longer.
    pub(super) fn drain(&self) {
        let shared = &self.group.0;
        shared.with(|turns, now, released| turns.drain(self.id, now, released));
    }

    /// Undoes [`drain`](Member::drain).
    pub(super) fn undrain(&self) {
        self.group.0.state.lock().turns.undrain(self.id);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let shared = &self.group.0;
        shared.with(|turns, _, released| turns.leave(self.id, released));
    }
}

/// See [`Member::admit`]. Joins the queue when first polled; dropping it
/// leaves the queue.
#[must_use = "futures do nothing unless awaited"]
pub(super) struct Admission<'r> {
    member: &'r Member,
    request: Request<'r>,
    direction: Direction,
    bytes: u64,
    place: Place,
}

#[derive(Clone, Copy)]
enum Place {
    None,
    Queued(Ticket),
    Through,
}

impl Future for Admission<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let (id, direction, bytes) = (self.member.id, self.direction, self.bytes);
        if matches!(self.place, Place::Through) {
            return Poll::Ready(());
        }
        let here = || AioContext::current().unwrap_or_else(|| self.request.node().context());
        let waiter = Waiter {
            waker: Some(cx.waker().clone()),
            home: Some(here()),
        };
        let (place, before) = self.member.group.0.with(|turns, now, released| {
            if let Place::Queued(ticket) = self.place {
                return match turns.waiting(id, direction, ticket) {
                    Some(known) => (self.place, Some(std::mem::replace(known, waiter))),
                    None => (Place::Through, Some(waiter)),
                };
            }
            // In one go: a drain, or other limits, in between would not find
            // the request in the queue.
            if turns.pass(id, direction, bytes, now, released) {
                return (Place::Through, Some(waiter));
            }
            let ticket = turns.queue(id, direction, bytes, waiter);
            (Place::Queued(ticket), None)
        });
        drop(before);
        self.place = place;
        match place {
            Place::Through => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        let Place::Queued(ticket) = self.place else {
            return;
        };
        let (id, direction) = (self.member.id, self.direction);
        let shared = &self.member.group.0;
        let withdrawn = shared.with(|turns, _, _| turns.withdraw(id, direction, ticket));
        drop(withdrawn);
    }
}
