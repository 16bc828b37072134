//! Rest between two steps that nobody is kept waiting by.

use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use block_common::sync::Mutex;

use super::{Faults, NoFaults};

/// How work that sleeps hears of what somebody wants of it (`job_enter`,
/// `job_sleep_ns`, `job_yield`).
///
/// One task [rests](Rest::rest), at most. A [kick](Rest::kick) ends its rest,
/// or the next if it is awake: so it cannot be lost between the look at what
/// there is to do and the rest. A [`wake`](Rest::wake) is for whoever has made
/// the condition true that the rest looks at: leaving the waker comes before
/// the look, so one of the two sees the other.
#[derive(Debug)]
pub struct Rest<F: Faults = NoFaults> {
    state: Mutex<State>,
    faults: PhantomData<fn() -> F>,
}

#[derive(Debug, Default)]
struct State {
    kicked: bool,
    waker: Option<Waker>,
}

impl<F: Faults> Default for Rest<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F: Faults> Rest<F> {
    /// Nobody rests.
    pub fn new() -> Self {
        Rest {
            state: Mutex::default(),
            faults: PhantomData,
        }
    }

    /// Ends the present rest, or the next.
    pub fn kick(&self) {
        self.state.lock().kicked = !F::KICK_WAKES_ONLY;
        self.wake();
    }

    /// Has whoever rests look at its condition again.
    pub fn wake(&self) {
        let waker = self.state.lock().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Leaves `cx`'s waker for [`wake`](Rest::wake). Look at what was to be
    /// waited for afterwards.
    pub fn leave(&self, cx: &Context<'_>) {
        let waker = cx.waker().clone();
        let old = self.state.lock().waker.replace(waker);
        // Foreign code, outside the lock.
        drop(old);
    }

    /// Rests until somebody kicks, `stop` says so, or `end` comes.
    pub async fn rest(&self, stop: impl Fn() -> bool, end: impl Future<Output = ()>) {
        let mut end = pin!(end);
        poll_fn(|cx| {
            if F::LOOK_THEN_LEAVE && stop() {
                return Poll::Ready(());
            }
            self.leave(cx);
            let kicked = std::mem::take(&mut self.state.lock().kicked);
            if kicked || (!F::LOOK_THEN_LEAVE && stop()) {
                return Poll::Ready(());
            }
            end.as_mut().poll(cx)
        })
        .await;
        let left = self.state.lock().waker.take();
        drop(left);
    }
}

#[cfg(all(test, not(block_loom)))]
mod tests {
    use std::future::pending;

    use super::*;

    fn poll(future: std::pin::Pin<&mut impl Future<Output = ()>>) -> Poll<()> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_kick_ends_one_rest_the_present_or_the_next() {
        let rest: Rest = Rest::new();
        let mut present = pin!(rest.rest(|| false, pending()));
        assert!(poll(present.as_mut()).is_pending());
        rest.kick();
        assert!(poll(present.as_mut()).is_ready());
        rest.kick();
        rest.kick();
        assert!(poll(pin!(rest.rest(|| false, pending()))).is_ready());
        assert!(poll(pin!(rest.rest(|| false, pending()))).is_pending());
    }

    #[test]
    fn a_rest_ends_by_itself_or_when_it_is_told_to_stop() {
        let rest: Rest = Rest::new();
        assert!(poll(pin!(rest.rest(|| false, async {}))).is_ready());
        assert!(poll(pin!(rest.rest(|| true, pending()))).is_ready());
    }
}
