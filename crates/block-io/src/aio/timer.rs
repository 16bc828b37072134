//! Timers.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::AioContext;
use super::context::with_current;
use super::ready::{Upkeep, Work};

/// Orders timers by deadline, and those of one deadline by registration.
pub(super) type TimerKey = (Instant, u64);

/// The timers of one loop.
pub(super) struct Timers {
    pending: BTreeMap<TimerKey, Waker>,
    registered: u64,
}

impl Timers {
    pub(super) const fn new() -> Self {
        Timers {
            pending: BTreeMap::new(),
            registered: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.pending
            .first_key_value()
            .map(|((deadline, _), _)| *deadline)
    }

    fn register(&mut self, deadline: Instant, waker: Waker) -> TimerKey {
        let key = (deadline, self.registered);
        self.registered += 1;
        self.pending.insert(key, waker);
        key
    }

    pub(super) fn remove(&mut self, key: TimerKey) -> Option<Waker> {
        self.pending.remove(&key)
    }

    /// Takes the earliest timer that is due at `now`.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Waker> {
        let first = self.pending.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// Takes the earliest timer.
    pub(super) fn pop(&mut self) -> Option<Waker> {
        self.pending.pop_first().map(|(_, waker)| waker)
    }
}

/// Completes when `duration` has passed (`qemu_co_sleep_ns`, on the host's monotonic clock).
///
/// # Panics
/// The future panics when first polled on a thread that has entered no event loop.
pub fn sleep(duration: Duration) -> Sleep {
    let now = Instant::now();
    // Beyond what the clock can express means never; thirty years are as good.
    let never = Duration::from_secs(30 * 365 * 24 * 3600);
    sleep_until(now.checked_add(duration).unwrap_or_else(|| now + never))
}

/// Completes at `deadline`. Panics as [`sleep`] does.
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep {
        deadline,
        registered: None,
    }
}

/// See [`sleep`]. Dropping it, on any thread, removes the timer.
///
/// The timer belongs to the context in which the future was polled last. Timers of a context fire
/// in the order of their deadlines, never early; many of one loop cost one clock reading per turn.
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep {
    deadline: Instant,
    registered: Option<(AioContext, TimerKey)>,
}

impl Sleep {
    /// When it completes.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    fn unregister(&mut self) {
        let Some((context, key)) = self.registered.take() else {
            return;
        };
        let here = with_current(|local| {
            local
                .filter(|local| *local.context() == context)
                .map(|local| local.timers().remove(key))
        });
        if here.is_none() {
            // No need to wake the loop: it finds this no later than the timer would have fired.
            context.leave(Work::Upkeep(Upkeep::ForgetTimer(key)));
        }
    }
}

enum Turn {
    Fired,
    Waiting,
    Update,
    Elsewhere,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let turn = with_current(|local| match (local, &self.registered) {
            (Some(local), Some((context, key))) if local.context() == context => {
                match local.timers().pending.get(key) {
                    None => Turn::Fired,
                    Some(waker) if waker.will_wake(cx.waker()) => Turn::Waiting,
                    Some(_) => Turn::Update,
                }
            }
            _ => Turn::Elsewhere,
        });
        match turn {
            Turn::Fired => {
                self.registered = None;
                return Poll::Ready(());
            }
            Turn::Waiting => return Poll::Pending,
            Turn::Update | Turn::Elsewhere => self.unregister(),
        }
        // Cloned, and the old one dropped above, outside the table: both may run foreign code.
        let waker = cx.waker().clone();
        let deadline = self.deadline;
        let mut waker = Some(waker);
        let registered = with_current(|local| {
            let local = local.expect(
                "a timer was polled on a thread that has entered no event loop; \
                 await it in a task of an AioContext",
            );
            if deadline <= local.now() {
                return None;
            }
            let waker = waker.take().expect("not yet taken");
            let key = local.timers().register(deadline, waker);
            Some((local.context().clone(), key))
        });
        self.registered = registered;
        match self.registered {
            None => Poll::Ready(()),
            Some(_) => Poll::Pending,
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.unregister();
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep")
            .field("deadline", &self.deadline)
            .finish()
    }
}
