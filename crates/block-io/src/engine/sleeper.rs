//! How an event loop falls asleep, and how others keep it from that.

use block_common::sync::{AtomicBool, Ordering};

use super::{Doorbell, Faults, NoFaults};

/// What an event loop and those who hand it work decide together: whether
/// the loop may sleep, and whether it has to be woken (`aio_poll`,
/// `aio_notify`).
///
/// The queues of the loop, and the system calls that end a sleep, are the
/// caller's; the order of the steps is here.
#[derive(Debug)]
pub struct Sleeper<F: Faults = NoFaults> {
    bell: Doorbell<F>,
    /// The loop shall not sleep before it has returned to its caller once.
    kicked: AtomicBool,
}

impl<F: Faults> Default for Sleeper<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F: Faults> Sleeper<F> {
    /// Of a loop that is awake.
    pub fn new() -> Self {
        Sleeper {
            bell: Doorbell::new(),
            kicked: AtomicBool::new(false),
        }
    }

    /// Hands the loop what `publish` puts where it looks. `true`: the loop
    /// sleeps, and the caller must wake it by a system call.
    #[must_use = "a sleeping loop has to be woken"]
    pub fn announce(&self, publish: impl FnOnce()) -> bool {
        if F::RING_BEFORE_QUEUEING {
            let asleep = self.bell.ring();
            publish();
            return asleep;
        }
        publish();
        self.bell.ring()
    }

    /// Makes the loop return to its caller, now or the next time it would
    /// sleep. `true` as in [`announce`](Sleeper::announce).
    #[must_use = "a sleeping loop has to be woken"]
    pub fn kick(&self) -> bool {
        self.announce(|| self.kicked.store(true, Ordering::Release))
    }

    /// Sleeps if there is nothing to do; returns whether it did.
    ///
    /// `look` takes over what others have handed to the loop, and says until
    /// when the loop may sleep; `None` when there is something to do. It is
    /// asked again whenever the bell has rung since it was asked. From when
    /// `sleep` is called, whoever announces something wakes the loop.
    pub fn unless_busy<D>(
        &self,
        mut look: impl FnMut() -> Option<D>,
        sleep: impl FnOnce(D),
    ) -> bool {
        let until = loop {
            let Some(until) = look() else {
                return false;
            };
            if self.take_kick() {
                return false;
            }
            if self.bell.prepare_sleep() {
                break until;
            }
            // The bell rang, though perhaps for what `look` has seen already.
            if F::HEAR_WITHOUT_LOOKING {
                while !self.bell.prepare_sleep() {}
                break until;
            }
        };
        sleep(until);
        self.bell.awake();
        // The caller hears of a kick by our returning, whatever ended the
        // sleep.
        self.take_kick();
        true
    }

    fn take_kick(&self) -> bool {
        self.kicked.load(Ordering::Acquire) && self.kicked.swap(false, Ordering::Acquire)
    }
}

#[cfg(all(test, not(block_loom)))]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn it_sleeps_only_when_nothing_is_to_be_done() {
        let sleep = Sleeper::<NoFaults>::new();
        let slept = Cell::new(0);
        let nap = |_: u8| slept.set(slept.get() + 1);
        assert!(!sleep.unless_busy(|| None, nap), "busy");
        assert!(sleep.unless_busy(|| Some(1), nap));
        assert!(!sleep.kick());
        assert!(!sleep.unless_busy(|| Some(1), nap), "kicked");
        assert!(sleep.unless_busy(|| Some(1), nap), "kicked once");
        assert_eq!(slept.get(), 2);
    }

    #[test]
    fn it_looks_again_after_a_ring_and_is_woken_when_asleep() {
        let sleep = Sleeper::<NoFaults>::new();
        let looks = Cell::new(0);
        assert!(!sleep.announce(|| ()), "awake");
        let look = || {
            looks.set(looks.get() + 1);
            Some(())
        };
        let wakes = |()| assert!(sleep.announce(|| ()), "asleep");
        assert!(sleep.unless_busy(look, wakes));
        assert_eq!(looks.get(), 2);
    }
}
