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
    /// The gate is closed when its requests have ended, and not before they
    /// are waited for, so that the last of them finds nobody to wake.
    ///
    /// **QEMU 10.0.2, race (a)**: `bdrv_graph_wrlock` waits for the readers
    /// with `has_writer` unset, and `bdrv_graph_co_rdunlock` kicks only where
    /// it is set. The writer sleeps until something else happens.
    const CLOSED_AFTER_THE_WAIT: bool = false;
    /// Park without testing again under the lock that the waker takes.
    ///
    /// **QEMU 10.0.2, race (c)**: `blk_wait_while_drained` reads
    /// `quiesce_counter` outside `queued_requests_lock`, takes the lock, and
    /// sleeps. A section that ends in between wakes an empty queue.
    const PARK_WITHOUT_RETEST: bool = false;
    /// Leave it to a woken request to count itself.
    ///
    /// **QEMU 10.0.2, race (b)**: `blk_wait_while_drained` counts the request
    /// again in its own thread, after it was woken. A second section can find
    /// zero before that, and the request then runs inside it.
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
    /// A request is counted out before what it does at its end is over.
    const END_BEFORE_THE_TAIL: bool = false;
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
    /// Parked requests are woken before the gate's lock is let go.
    const WAKE_UNDER_LOCK: bool = false;
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
    /// What goes on after its request was dropped is waited for by later
    /// requests only, not by those that wait already.
    const LINGERING_OVERTAKEN: bool = false;
    /// A waker that another takes the place of is dropped under the lock of
    /// the requests that overlap.
    const REPLACED_UNDER_LOCK: bool = false;
    /// The bell is rung before the work that it announces is queued.
    const RING_BEFORE_QUEUEING: bool = false;
    /// A loop that heard the bell goes to sleep without looking again: an `if`
    /// in the place of a `while`.
    const HEAR_WITHOUT_LOOKING: bool = false;
    /// The loop announces its sleep by an exchange that may fail for no
    /// reason, and takes any failure but a ring for a success. Loom does
    /// **not** see this one: its exchanges never fail for no reason.
    const SLEEP_BY_WEAK_EXCHANGE: bool = false;
    /// Every section goes up to the parents, not only the first.
    const EVERY_REASON_GOES_UP: bool = false;
    /// A parent that gets a quiesced child is not quiesced for it.
    const ATTACH_HANDS_NOTHING_OVER: bool = false;
    /// A parent that gets a quiesced child is quiesced twice for it.
    const ATTACH_COUNTS_TWICE: bool = false;
    /// What a parent was told already is told again.
    const HAND_OVER_AGAIN: bool = false;
    /// A parent is let go before its edge leaves the quiesced child.
    const PARENT_FREED_BEFORE_THE_MOVE: bool = false;
    /// A section closes the gates and does not wait for what is in flight.
    const WRITE_WITHOUT_WAITING: bool = false;
    /// A section that was woken does not look whether all is idle: an `if` in
    /// the place of a `while`.
    const WAIT_ONCE: bool = false;
    /// A new node does not take part in the sections over everything.
    const BORN_OPEN: bool = false;
    /// A new node takes part in one section over everything, however many
    /// are open.
    const BORN_QUIESCED_ONCE: bool = false;
    /// The old loop has its turn before the new home is published.
    const TURN_BEFORE_THE_MOVE: bool = false;
    /// The section of a move ends without a turn of the old loop.
    const MOVE_WITHOUT_A_TURN: bool = false;
    /// Work that was told to pause is taken to have paused.
    const PAUSED_WHEN_TOLD: bool = false;
    /// Whoever goes to rest looks whether it may before it leaves its waker.
    const LOOK_THEN_LEAVE: bool = false;
    /// A kick wakes who rests, and is forgotten if nobody does.
    const KICK_WAKES_ONLY: bool = false;
}

/// `order`, or no ordering at all where the mistake is to forget it.
pub(super) const fn unless(forgotten: bool, order: Ordering) -> Ordering {
    if forgotten { Ordering::Relaxed } else { order }
}

/// The engine as it ships: no mistakes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoFaults;

impl Faults for NoFaults {}
