//! An event loop around the engine's decision to sleep.

use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use block_common::sync::Signal;
use block_io::engine::{Faults, Gate, Sleeper};

/// A loop that does nothing but sleep, by the decision that ships
/// ([`Sleeper`]), so that mistakes can be seeded there. What it sleeps on is a
/// signal in the place of the `eventfd`.
///
/// `block_io::aio::EventLoop` itself runs in the models about moves.
pub struct EventLoop<F: Faults> {
    sleeper: Sleeper<F>,
    alarm: Signal,
}

impl<F: Faults> EventLoop<F> {
    /// A loop that is awake.
    pub fn new() -> Arc<Self> {
        Arc::new(EventLoop {
            sleeper: Sleeper::new(),
            alarm: Signal::new(),
        })
    }

    /// Hands over what `publish` queues (`AioContext::submit`).
    pub fn announce(&self, publish: impl FnOnce()) {
        if self.sleeper.announce(publish) {
            self.alarm.raise();
        }
    }

    /// Makes a poll return (`AioContext::kick`).
    pub fn kick(&self) {
        if self.sleeper.kick() {
            self.alarm.raise();
        }
    }

    /// One turn: returns when there is work, or after a kick
    /// (`EventLoop::poll(Wait::Until(None))`).
    pub fn poll(&self, has_work: impl Fn() -> bool) {
        let look = || (!has_work()).then_some(());
        self.sleeper.unless_busy(look, |()| self.alarm.wait());
    }

    /// Waits like a drain: the loop runs until nothing is in flight in any of
    /// the gates. All are asked each time, each has to know whom to wake.
    pub fn wait_until_idle(self: &Arc<Self>, gates: &[&Gate<F>]) {
        let waker = Waker::from(Arc::clone(self));
        let cx = &mut Context::from_waker(&waker);
        loop {
            let busy = gates.iter().filter(|gate| gate.poll_idle(cx).is_pending());
            if busy.count() == 0 {
                return;
            }
            self.poll(|| false);
        }
    }
}

impl<F: Faults> Wake for EventLoop<F> {
    fn wake(self: Arc<Self>) {
        self.kick();
    }
}
