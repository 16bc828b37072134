//! A long run of several threads: when it ends, what was done, and what went
//! wrong. The tour and the stress test are such runs.

pub mod journal;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use self::journal::Journal;

/// Failures told in full; of the others only the number is kept.
const TOLD: usize = 5;

/// What the threads of a run share: `K` is what is counted, `F` what must not
/// happen.
#[derive(Debug)]
pub struct Run<K, F> {
    stop: AtomicBool,
    interrupted: AtomicBool,
    beats: AtomicU64,
    failures: AtomicU64,
    told: Mutex<Vec<F>>,
    counts: Mutex<BTreeMap<K, u64>>,
    /// What the main thread has done to the graph.
    pub journal: Journal,
}

impl<K, F> Default for Run<K, F> {
    fn default() -> Self {
        Run {
            stop: AtomicBool::new(false),
            interrupted: AtomicBool::new(false),
            beats: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            told: Mutex::default(),
            counts: Mutex::default(),
            journal: Journal::default(),
        }
    }
}

impl<K: Copy + Ord, F: ToString> Run<K, F> {
    /// Whether load and changes shall end.
    pub fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Lets them end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// The user wants it to end. Returns whether that was known.
    pub fn interrupt(&self) -> bool {
        self.stop();
        self.interrupted.swap(true, Ordering::Relaxed)
    }

    /// Whether the user wanted it to end.
    pub fn was_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// The main thread is alive and getting on.
    pub fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it was.
    pub fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    /// Notes something that must not happen, and ends the run.
    pub fn fail(&self, failure: F) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let mut told = lock(&self.told);
        if told.len() < TOLD {
            told.push(failure);
        }
        drop(told);
        self.stop();
    }

    /// How much went wrong.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// The first failures, in words.
    pub fn told(&self) -> Vec<String> {
        lock(&self.told).iter().map(ToString::to_string).collect()
    }

    /// Counts something that was done.
    pub fn count(&self, what: K) {
        *lock(&self.counts).entry(what).or_default() += 1;
    }

    /// How often each thing was done.
    pub fn counts(&self) -> BTreeMap<K, u64> {
        lock(&self.counts).clone()
    }
}

/// Who has panicked has told why; what it left is still to be reported.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_ends_it_and_only_some_are_told() {
        let run: Run<&str, String> = Run::default();
        assert!(!run.is_stopping());
        for number in 0..9 {
            run.fail(format!("failure {number}"));
        }
        assert!(run.is_stopping());
        assert_eq!(run.failures(), 9);
        let told: Vec<_> = (0..TOLD)
            .map(|number| format!("failure {number}"))
            .collect();
        assert_eq!(run.told(), told);
        assert!(!run.was_interrupted());
    }

    #[test]
    fn a_second_interrupt_is_known_as_such() {
        let run: Run<&str, String> = Run::default();
        assert_eq!([run.interrupt(), run.interrupt()], [false, true]);
        assert!(run.is_stopping() && run.was_interrupted());
    }

    #[test]
    fn what_is_done_is_counted_by_its_kind() {
        let run: Run<&str, String> = Run::default();
        for what in ["one", "two", "one"] {
            run.count(what);
        }
        assert_eq!(run.counts(), BTreeMap::from([("one", 2), ("two", 1)]));
    }
}
