//! The engine's mistakes, one type each.

use block_io::engine::Faults;

/// An engine with exactly one mistake.
pub trait Mutation: Faults {
    /// The constant of [`Faults`] that is on.
    const FAULT: &'static str;
}

macro_rules! mutants {
    ($($name:ident: $constant:ident,)+) => {
        $(
            #[doc = concat!("Switches on [`Faults::", stringify!($constant), "`].")]
            #[derive(Clone, Copy, Debug)]
            pub struct $name;

            impl Faults for $name {
                const $constant: bool = true;
            }

            impl Mutation for $name {
                const FAULT: &'static str = stringify!($constant);
            }
        )+

        /// The constants that the mutants switch on.
        pub const ALL: &[&str] = &[$(stringify!($constant)),+];
    };
}

mutants! {
    TestThenCount: TEST_THEN_COUNT,
    ParkWithoutRetest: PARK_WITHOUT_RETEST,
    WokenCountsItself: WOKEN_COUNTS_ITSELF,
    NoKickAtZero: NO_KICK_AT_ZERO,
    LookThenRegister: LOOK_THEN_REGISTER,
    CloseFirstShardOnly: CLOSE_FIRST_SHARD_ONLY,
    DepthIsAFlag: DEPTH_IS_A_FLAG,
    WakeOneDrain: WAKE_ONE_DRAIN,
    EndWithoutRelease: END_WITHOUT_RELEASE,
    LookWithoutAcquire: LOOK_WITHOUT_ACQUIRE,
    OpenWithoutRelease: OPEN_WITHOUT_RELEASE,
    BeginWithoutAcquire: BEGIN_WITHOUT_ACQUIRE,
    CancelForgetsCount: CANCEL_FORGETS_COUNT,
    WakerDroppedUnderLock: WAKER_DROPPED_UNDER_LOCK,
    VisibleBeforeQuiesced: VISIBLE_BEFORE_QUIESCED,
    SleepWithoutLooking: SLEEP_WITHOUT_LOOKING,
    RingInTwoSteps: RING_IN_TWO_STEPS,
    RingOnlyOnce: RING_ONLY_ONCE,
    RingWithoutRelease: RING_WITHOUT_RELEASE,
    HearWithoutAcquire: HEAR_WITHOUT_ACQUIRE,
    LeaveWakesNobody: LEAVE_WAKES_NOBODY,
    GivingUpStays: GIVING_UP_STAYS,
    WaitersAreOvertaken: WAITERS_ARE_OVERTAKEN,
    LingeringUnseen: LINGERING_UNSEEN,
    EndBeforeTheTail: END_BEFORE_THE_TAIL,
    ClosedAfterTheWait: CLOSED_AFTER_THE_WAIT,
    WakeUnderLock: WAKE_UNDER_LOCK,
    LingeringOvertaken: LINGERING_OVERTAKEN,
    ReplacedUnderLock: REPLACED_UNDER_LOCK,
    RingBeforeQueueing: RING_BEFORE_QUEUEING,
    HearWithoutLooking: HEAR_WITHOUT_LOOKING,
    SleepByWeakExchange: SLEEP_BY_WEAK_EXCHANGE,
    EveryReasonGoesUp: EVERY_REASON_GOES_UP,
    AttachHandsNothingOver: ATTACH_HANDS_NOTHING_OVER,
    AttachCountsTwice: ATTACH_COUNTS_TWICE,
    HandOverAgain: HAND_OVER_AGAIN,
    ParentFreedBeforeTheMove: PARENT_FREED_BEFORE_THE_MOVE,
    WriteWithoutWaiting: WRITE_WITHOUT_WAITING,
    WaitOnce: WAIT_ONCE,
    BornOpen: BORN_OPEN,
    BornQuiescedOnce: BORN_QUIESCED_ONCE,
    TurnBeforeTheMove: TURN_BEFORE_THE_MOVE,
    MoveWithoutATurn: MOVE_WITHOUT_A_TURN,
    PausedWhenTold: PAUSED_WHEN_TOLD,
    LookThenLeave: LOOK_THEN_LEAVE,
    KickWakesOnly: KICK_WAKES_ONLY,
}

/// A race that QEMU 10.0.2 has, and the mistake that reproduces its order of
/// steps.
#[derive(Clone, Copy, Debug)]
pub struct OfQemu {
    /// The letter under which the documentation of `Faults` names it.
    pub letter: char,
    /// What QEMU does.
    pub order: &'static str,
    /// The constant of `Faults`.
    pub fault: &'static str,
}

/// The races of QEMU 10.0.2.
pub const QEMU: [OfQemu; 3] = [
    OfQemu {
        letter: 'a',
        order: "`bdrv_graph_wrlock`: wait for readers, then set `has_writer`; a reader kicks only \
                where it is set",
        fault: ClosedAfterTheWait::FAULT,
    },
    OfQemu {
        letter: 'b',
        order: "`blk_wait_while_drained`: woken, then counted, by the request itself",
        fault: WokenCountsItself::FAULT,
    },
    OfQemu {
        letter: 'c',
        order: "`blk_wait_while_drained`: `quiesce_counter` read, then the lock taken, then parked",
        fault: ParkWithoutRetest::FAULT,
    },
];
