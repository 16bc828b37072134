//! Seeded mistakes, so that the model checker can be shown to see them.

use block_common::sync::Ordering;

/// Which mistakes the engine makes. Every constant is `false` in what ships,
/// and the compiler removes the branches.
///
/// A model that passes proves little unless the same model fails when the
/// code is wrong. `loom-tests` therefore instantiates the engine with
/// implementations of this trait that switch one constant on, and demands
/// that the model notices.
pub trait Faults: Send + Sync + 'static {
    /// Test whether the gate is closed first, count afterwards.
    const TEST_THEN_COUNT: bool = false;
    /// Park without testing again under the lock that the waker takes
    /// (QEMU 10.0.2's `blk_wait_while_drained`: a lost wake-up).
    const PARK_WITHOUT_RETEST: bool = false;
    /// Leave it to a woken request to count itself (QEMU 10.0.2: a second
    /// drain can find zero before it does).
    const WOKEN_COUNTS_ITSELF: bool = false;
    /// The last request does not wake the drain that waits for it.
    const NO_KICK_AT_ZERO: bool = false;
    /// The drain looks whether all is idle before it registers its waker.
    const LOOK_THEN_REGISTER: bool = false;
    /// Closing marks only the first shard of the counter.
    const CLOSE_FIRST_SHARD_ONLY: bool = false;
    /// The depth of nested sections is a flag: the first end opens the gate.
    const DEPTH_IS_A_FLAG: bool = false;
    /// Only the first of several drains that wait is woken.
    const WAKE_ONE_DRAIN: bool = false;
    /// The end of a request does not publish what the request did.
    const END_WITHOUT_RELEASE: bool = false;
    /// The drain does not see what a request did that it finds ended.
    const LOOK_WITHOUT_ACQUIRE: bool = false;
    /// Opening does not publish what the drain's owner wrote.
    const OPEN_WITHOUT_RELEASE: bool = false;
    /// The beginning of a request does not see what the drain's owner wrote.
    const BEGIN_WITHOUT_ACQUIRE: bool = false;
    /// A cancelled parked request forgets that it was counted meanwhile.
    const CANCEL_FORGETS_COUNT: bool = false;
    /// A waker, and what hangs on it, is dropped under the gate's lock.
    const WAKER_DROPPED_UNDER_LOCK: bool = false;
    /// A new child becomes visible before its quiesced state is handed over.
    const VISIBLE_BEFORE_QUIESCED: bool = false;
    /// The loop declares itself asleep without looking for a ring.
    const SLEEP_WITHOUT_LOOKING: bool = false;
    /// A ring is a plain load and store instead of one exchange.
    const RING_IN_TWO_STEPS: bool = false;
    /// A bell that looks rung is not rung again.
    const RING_ONLY_ONCE: bool = false;
    /// A ring does not publish the work that it announces.
    const RING_WITHOUT_RELEASE: bool = false;
    /// The loop takes a ring without seeing the work that it announces.
    const HEAR_WITHOUT_ACQUIRE: bool = false;
    /// A request that is done does not wake those that waited for it.
    const LEAVE_WAKES_NOBODY: bool = false;
    /// A request that gives up waiting stays in the way of others.
    const GIVING_UP_STAYS: bool = false;
    /// A request waits only for those that run, not for those that wait.
    const WAITERS_ARE_OVERTAKEN: bool = false;
    /// What goes on after its request was dropped is not seen on the fast
    /// path.
    const LINGERING_UNSEEN: bool = false;
}

/// `order`, or no ordering at all where the mistake is to forget it.
pub(super) const fn unless(forgotten: bool, order: Ordering) -> Ordering {
    if forgotten { Ordering::Relaxed } else { order }
}

/// The engine as it ships: no mistakes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoFaults;

impl Faults for NoFaults {}
