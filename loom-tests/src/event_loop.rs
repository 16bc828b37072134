//! An event loop without system calls.

use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use block_common::sync::{AtomicBool, Ordering};
use block_io::engine::{Doorbell, Faults, Gate};

use crate::executor::Signal;

/// The part of `block_io::aio`'s event loop that decides about sleeping: the
/// doorbell that ships, the flag of `AioContext::kick`, and a signal in the
/// place of the `eventfd`.
pub struct EventLoop<F: Faults> {
    doorbell: Doorbell<F>,
    kicked: AtomicBool,
    wake_fd: Signal,
}

impl<F: Faults> EventLoop<F> {
    /// A loop that is awake.
    pub fn new() -> Arc<Self> {
        Arc::new(EventLoop {
            doorbell: Doorbell::new(),
            kicked: AtomicBool::new(false),
            wake_fd: Signal::new(),
        })
    }

    /// Announces work, as `AioContext::submit` does after queueing it.
    pub fn ring(&self) {
        if self.doorbell.ring() {
            self.wake_fd.raise();
        }
    }

    /// Makes a poll return (`AioContext::kick`).
    pub fn kick(&self) {
        self.kicked.store(true, Ordering::Release);
        self.ring();
    }

    /// One turn: returns when there is work, or after a kick
    /// (`EventLoop::poll(Wait::Until(None))`).
    pub fn poll(&self, has_work: impl Fn() -> bool) {
        loop {
            if has_work() || self.take_kick() {
                return;
            }
            if self.doorbell.prepare_sleep() {
                break;
            }
        }
        self.wake_fd.wait();
        self.doorbell.awake();
        self.take_kick();
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

    fn take_kick(&self) -> bool {
        self.kicked.load(Ordering::Acquire) && self.kicked.swap(false, Ordering::Acquire)
    }
}

impl<F: Faults> Wake for EventLoop<F> {
    fn wake(self: Arc<Self>) {
        self.kick();
    }
}
