//! Seeded mistakes, so that the model checker can be shown to see them.

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
    /// The end of a request does not publish what the request did.
    const END_WITHOUT_RELEASE: bool = false;
    /// The beginning of a request does not see what the drain's owner wrote.
    const BEGIN_WITHOUT_ACQUIRE: bool = false;
    /// A cancelled parked request forgets that it was counted meanwhile.
    const CANCEL_FORGETS_COUNT: bool = false;
    /// A new child becomes visible before its quiesced state is handed over.
    const VISIBLE_BEFORE_QUIESCED: bool = false;
    /// The loop declares itself asleep without looking for a ring.
    const SLEEP_WITHOUT_LOOKING: bool = false;
    /// A ring is a plain load and store instead of one exchange.
    const RING_IN_TWO_STEPS: bool = false;
}

/// The engine as it ships: no mistakes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoFaults;

impl Faults for NoFaults {}
