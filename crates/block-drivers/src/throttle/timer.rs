//! The timer of a group: one task that lets the next request run when its
//! time has come.
//!
//! It exists while somebody waits, one for both directions, because totals
//! limit both. It lives in the event loop of the request that is next, as in
//! QEMU, and moves when the next one is at home elsewhere; it is not part of
//! that request's task, which may be dropped, or not polled for a while,
//! without anybody else noticing.
//!
//! **Invariant: while somebody waits there is an armed timer**, or wake-ups
//! under way to requests that will arm one. A loop that ends drops the timer
//! with its other tasks: all that wait are woken then, and the first one that
//! is polled arms another.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use block_io::aio::{AioContext, Sleep, sleep_until};

use super::group::{Shared, State, Waiter, wake};

/// It looks at least this often: some waits are longer than a clock can say.
const LONGEST: Duration = Duration::from_secs(3600);

/// What a group knows of its timer.
pub(super) struct Armed {
    /// When it looks again.
    at: Duration,
    /// Makes it look now. `None`: it will look before it sleeps.
    waker: Option<Waker>,
}

/// What is to be done about the timer, without the lock.
pub(super) enum Change {
    None,
    /// Somebody is to run earlier than it looks, or nobody waits any more.
    Look(Waker),
    /// There is none and has to be one.
    Arm(AioContext),
}

/// Lets everybody run who may, and says what that means for the timer.
pub(super) fn settle(state: &mut State, now: Duration, released: &mut Vec<Waiter>) -> Change {
    let next = state.turns.grant(now, released);
    match (&mut state.timer, next) {
        (None, None) => Change::None,
        (None, Some((at, waiter))) => {
            // Without any loop the next request that is polled arms it.
            match waiter.home.clone().or_else(AioContext::current) {
                None => Change::None,
                Some(home) => {
                    state.timer = Some(Armed { at, waker: None });
                    Change::Arm(home)
                }
            }
        }
        (Some(timer), next) => {
            let in_time = next.is_some_and(|(at, _)| timer.at <= at);
            match timer.waker.take_if(|_| !in_time) {
                Some(waker) => Change::Look(waker),
                None => Change::None,
            }
        }
    }
}

/// Starts the timer that [`settle`] has asked for.
pub(super) fn start(shared: &Arc<Shared>, home: AioContext) {
    let timer = Timer {
        shared: Some(Arc::clone(shared)),
        home: home.clone(),
        sleep: None,
    };
    home.spawn(timer).detach();
}

/// The task.
struct Timer {
    /// `None` when its work is done, or another task does it.
    shared: Option<Arc<Shared>>,
    home: AioContext,
    sleep: Option<Sleep>,
}

enum Next {
    /// Nobody waits.
    Over,
    At(Duration),
    Elsewhere(AioContext),
}

impl Timer {
    /// Lets everybody run whose time has come.
    fn look(&self, shared: &Shared, waker: Waker) -> Next {
        let mut released = Vec::new();
        let mut state = shared.state().lock();
        let now = shared.now();
        let (next, armed) = match state.turns.grant(now, &mut released) {
            None => (Next::Over, None),
            Some((at, waiter)) => {
                let at = at.min(now.saturating_add(LONGEST));
                let home = waiter.home.as_ref().filter(|home| **home != self.home);
                match home {
                    Some(home) => (
                        Next::Elsewhere(home.clone()),
                        Some(Armed { at, waker: None }),
                    ),
                    None => {
                        let waker = Some(waker);
                        (Next::At(at), Some(Armed { at, waker }))
                    }
                }
            }
        };
        let before = std::mem::replace(&mut state.timer, armed);
        drop(state);
        drop(before);
        wake(released);
        next
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(shared) = self.shared.clone() else {
                return Poll::Ready(());
            };
            match self.look(&shared, cx.waker().clone()) {
                Next::Over => {
                    self.shared = None;
                }
                Next::Elsewhere(home) => {
                    self.shared = None;
                    start(&shared, home);
                }
                Next::At(time) => {
                    let deadline = shared.instant(time);
                    let mut sleep = match self.sleep.take() {
                        Some(sleep) if sleep.deadline() == deadline => sleep,
                        _ => sleep_until(deadline),
                    };
                    let slept = Pin::new(&mut sleep).poll(cx);
                    if slept.is_pending() {
                        self.sleep = Some(sleep);
                        return Poll::Pending;
                    }
                }
            }
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let Some(shared) = self.shared.take() else {
            return;
        };
        // The loop has ended.
        let mut orphans = Vec::new();
        let mut state = shared.state().lock();
        let armed = state.timer.take();
        for waiter in state.turns.all() {
            let home = waiter.home.take_if(|home| *home == self.home);
            let waker = waiter.waker.take();
            orphans.push(Waiter { waker, home });
        }
        drop(state);
        drop(armed);
        wake(orphans);
    }
}
