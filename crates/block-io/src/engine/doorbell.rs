//! A wake-up that a loop about to sleep cannot miss.

use std::marker::PhantomData;

use block_common::sync::{AtomicU32, Ordering};

use super::faults::unless;
use super::{Faults, NoFaults};

const AWAKE: u32 = 0;
const SLEEPING: u32 = 1;
const RUNG: u32 = 2;

/// Tells whoever hands work to an event loop whether the loop must be woken
/// by a system call (`aio_notify`).
///
/// The state is one word and every step on it one read-modify-write, so
/// steps of different threads have an order and each step sees what the one
/// before it published. QEMU spreads the same protocol over `notify_me`,
/// `notified` and two full fences.
///
/// * A producer publishes its work, then calls [`ring`](Doorbell::ring), and
///   wakes the loop when told to.
/// * The loop, before it sleeps, calls
///   [`prepare_sleep`](Doorbell::prepare_sleep): `false` means that the bell
///   rang since the loop last asked, and that it must look at its queues
///   again. `true` means that every later ring will ask its producer for a
///   system call, so sleeping is safe. After sleeping it calls
///   [`awake`](Doorbell::awake).
#[derive(Debug)]
pub struct Doorbell<F: Faults = NoFaults> {
    state: AtomicU32,
    faults: PhantomData<fn() -> F>,
}

impl<F: Faults> Default for Doorbell<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F: Faults> Doorbell<F> {
    /// A bell beside a loop that is awake.
    pub fn new() -> Self {
        Doorbell {
            state: AtomicU32::new(AWAKE),
            faults: PhantomData,
        }
    }

    /// Announces work that has been published already. `true`: the loop
    /// sleeps, and the caller must wake it by a system call.
    #[must_use = "a sleeping loop has to be woken"]
    pub fn ring(&self) -> bool {
        if F::RING_IN_TWO_STEPS {
            let before = self.state.load(Ordering::Acquire);
            self.state.store(RUNG, Ordering::Release);
            return before == SLEEPING;
        }
        if F::RING_ONLY_ONCE && self.state.load(Ordering::Acquire) == RUNG {
            return false;
        }
        // An exchange even when the bell seems to have been rung already: the
        // loop has to see *this* caller's work when it takes the ring.
        let order = unless(F::RING_WITHOUT_RELEASE, Ordering::AcqRel);
        self.state.swap(RUNG, order) == SLEEPING
    }

    /// Whether the loop may sleep. On `false` work may have come in: look at
    /// every queue, then ask again.
    #[must_use = "sleeping after a ring would lose it"]
    pub fn prepare_sleep(&self) -> bool {
        if F::SLEEP_WITHOUT_LOOKING {
            self.state.swap(SLEEPING, Ordering::AcqRel);
            return true;
        }
        if F::SLEEP_BY_WEAK_EXCHANGE {
            let _ = self.state.compare_exchange_weak(
                AWAKE,
                SLEEPING,
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
            let rung = self.state.load(Ordering::Acquire) == RUNG;
            if rung {
                self.awake();
            }
            return !rung;
        }
        let asleep =
            self.state
                .compare_exchange(AWAKE, SLEEPING, Ordering::AcqRel, Ordering::Relaxed);
        if asleep.is_err() {
            self.awake();
        }
        asleep.is_ok()
    }

    /// The loop runs again. Whatever was published before a ring that this
    /// call takes is visible to the caller afterwards.
    pub fn awake(&self) {
        let order = unless(F::HEAR_WITHOUT_ACQUIRE, Ordering::AcqRel);
        self.state.swap(AWAKE, order);
    }
}

#[cfg(all(test, not(block_loom)))]
mod tests {
    use super::*;

    #[test]
    fn only_a_sleeping_loop_needs_a_system_call() {
        let bell = Doorbell::<NoFaults>::new();
        assert!(!bell.ring());
        assert!(!bell.prepare_sleep(), "the ring came first");
        assert!(bell.prepare_sleep());
        assert!(bell.ring());
        assert!(!bell.ring(), "one wake-up is enough");
        bell.awake();
        assert!(bell.prepare_sleep());
    }
}
