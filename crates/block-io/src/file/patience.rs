//! How much of its time a thread may lose to writes that wait.
//!
//! A write to the page cache takes the kernel a few microseconds; handing it
//! to an engine costs as much again. But it can wait: when too much of the
//! memory is dirty the kernel lets those who write sleep, and so does a file
//! system whose journal is being written. No flag tells beforehand where the
//! file system does not know `RWF_NOWAIT` for writes (ext4). So what has been
//! is taken for what will be: once a write has waited, those that follow go to
//! the engine for so long that waits take no more than one part in [`SHARE`]
//! of the thread's time.

use std::cell::Cell;

use rustix::time::{ClockId, clock_gettime};

/// A thread waits for at most one part in so many of its time.
const SHARE: u64 = 32;

/// What took less did not wait, in nanoseconds. Other transfers on the spot
/// take nearly as long.
const WAITED: u64 = 2_000_000;

thread_local! {
    /// When this thread may write itself again, in nanoseconds.
    static AGAIN: Cell<u64> = const { Cell::new(0) };
}

/// A write that may wait a little.
pub(super) struct Attempt {
    began: u64,
}

impl Attempt {
    /// Begins one, unless this thread has waited too much.
    pub(super) fn begin() -> Option<Attempt> {
        let began = now();
        (began >= AGAIN.get()).then_some(Attempt { began })
    }

    /// It is over.
    pub(super) fn end(self) {
        if let Some(until) = rest(self.began, now()) {
            AGAIN.set(until);
        }
    }
}

/// Until when nobody tries again after an attempt from `began` to `ended`.
fn rest(began: u64, ended: u64) -> Option<u64> {
    let took = ended.saturating_sub(began);
    (took >= WAITED).then(|| ended.saturating_add(took.saturating_mul(SHARE - 1)))
}

fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let rest = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_waited_rests_for_so_much_longer() {
        assert_eq!(rest(1000, 1000), None);
        assert_eq!(rest(1000, 999 + WAITED), None);
        let until = rest(1000, 1000 + WAITED).expect("that was a wait");
        assert_eq!((until - 1000) / WAITED, SHARE, "all of it is so many waits");
        assert_eq!(rest(0, u64::MAX), Some(u64::MAX));
    }

    #[test]
    fn a_thread_that_has_waited_too_much_does_not_try() {
        std::thread::spawn(|| {
            assert!(Attempt::begin().is_some());
            AGAIN.set(now() + 1_000_000_000_000);
            assert!(Attempt::begin().is_none());
            AGAIN.set(0);
            assert!(Attempt::begin().is_some());
        })
        .join()
        .expect("no panic");
    }
}
