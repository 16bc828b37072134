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
//!
//! What took long need not have waited: on a busy machine somebody else may
//! have had the processor. The kernel counts how often a thread went to sleep
//! of its own accord, but asking takes a system call. So after a write that
//! took long those that follow are watched, and the next one that is long and
//! went to sleep has waited.

use std::cell::Cell;

use nix::sys::resource::{UsageWho, getrusage};
use rustix::time::{ClockId, clock_gettime};

/// A thread waits for at most one part in so many of its time.
const SHARE: u64 = 32;

/// What took less did not wait, in nanoseconds. Other transfers on the spot
/// take nearly as long.
const LONG: u64 = 2_000_000;

thread_local! {
    /// When this thread may write itself again, and until when it is watched,
    /// in nanoseconds.
    static STATE: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// A write that may wait a little.
pub(super) struct Attempt {
    began: u64,
    /// How often the thread had gone to sleep before, if it is watched.
    sleeps: Option<u64>,
}

impl Attempt {
    /// Begins one, unless this thread has waited too much.
    pub(super) fn begin() -> Option<Attempt> {
        let began = now();
        let (again, watched) = STATE.get();
        if began < again {
            return None;
        }
        let sleeps = if began < watched { sleeps() } else { None };
        Some(Attempt { began, sleeps })
    }

    /// It is over.
    pub(super) fn end(self) {
        let ended = now();
        if ended.saturating_sub(self.began) >= LONG {
            let slept = self.sleeps.map(|before| sleeps() != Some(before));
            STATE.set(after_long(self.began, ended, slept));
        }
    }
}

/// When to write again, and until when to watch, after an attempt that took
/// long; whether it `slept` is known if it was watched.
#[cold]
fn after_long(began: u64, ended: u64, slept: Option<bool>) -> (u64, u64) {
    let took = ended.saturating_sub(began);
    let later = |from: u64| from.saturating_add(took.saturating_mul(SHARE - 1));
    match slept {
        None | Some(false) => (0, later(ended)),
        Some(true) => (later(ended), later(later(ended))),
    }
}

/// How often this thread went to sleep. `None` if the kernel does not say.
fn sleeps() -> Option<u64> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).ok()?;
    u64::try_from(usage.voluntary_context_switches()).ok()
}

fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let rest = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_has_waited_rests_for_so_much_longer() {
        let (again, watched) = after_long(1000, 1000 + LONG, Some(true));
        assert_eq!((again - 1000) / LONG, SHARE, "all of it is so many waits");
        assert_eq!((watched - again) / LONG, SHARE - 1, "and watched as long");
        for slept in [None, Some(false)] {
            let (again, watched) = after_long(1000, 1000 + LONG, slept);
            assert_eq!(again, 0, "it may not have waited");
            assert_eq!((watched - 1000) / LONG, SHARE);
        }
        let for_ever = after_long(0, u64::MAX, Some(true));
        assert_eq!(for_ever, (u64::MAX, u64::MAX));
    }

    #[test]
    fn a_thread_is_watched_before_it_has_to_rest() {
        let attempt = |work: fn()| {
            let attempt = Attempt::begin().expect("it may try");
            let watched = attempt.sleeps.is_some();
            work();
            attempt.end();
            watched
        };
        let wait = || thread::sleep(Duration::from_nanos(2 * LONG));
        let work = || {
            let began = now();
            while now() - began < LONG {}
        };
        let tried = thread::spawn(move || {
            assert!(!attempt(|| {}), "nothing has happened yet");
            assert!(!attempt(wait));
            // That was long, and so is this; but it does not sleep.
            let watched = attempt(work);
            let watched_on = attempt(wait);
            // On a machine that stands still in between it is over.
            !watched || !watched_on || Attempt::begin().is_none()
        });
        assert!(tried.join().expect("no panic"));
    }
}
