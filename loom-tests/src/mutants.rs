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
}
