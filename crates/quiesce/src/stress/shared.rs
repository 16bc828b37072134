//! What all threads of the run share.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::tour::journal::Journal;

/// Failures told in full; of the others only the number is kept.
const TOLD: usize = 5;

/// The state that the threads share.
#[derive(Debug, Default)]
pub struct Shared {
    stop: AtomicBool,
    interrupted: AtomicBool,
    beats: AtomicU64,
    failures: AtomicU64,
    told: Mutex<Vec<String>>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    /// What each task is doing, and since when.
    doing: Mutex<BTreeMap<String, (Instant, String)>>,
    /// Requests that have ended.
    pub requests: AtomicU64,
    /// Bytes compared with the model.
    pub verified: AtomicU64,
    /// Bytes that were written, and reported so.
    pub written: AtomicU64,
    /// Requests that were dropped half way.
    pub cancelled: AtomicU64,
    /// Requests that failed, as they were told to.
    pub failed: AtomicU64,
    /// Comparisons of a file with the model after a flush.
    pub flushes_checked: AtomicU64,
    /// What the main thread has done to the graph.
    pub journal: Journal,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
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

    /// Whether the user ended it.
    pub fn was_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// The main thread gets on.
    pub fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it did.
    pub fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    /// Notes something that must not happen, and ends the run.
    pub fn fail(&self, what: String) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let step = self.journal.step();
        let mut told = lock(&self.told);
        if told.len() < TOLD {
            told.push(format!("{what} (graph step {step})"));
        }
        drop(told);
        self.stop();
    }

    /// How much went wrong.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// The first failures.
    pub fn told(&self) -> Vec<String> {
        lock(&self.told).clone()
    }

    /// Counts something that was done.
    pub fn count(&self, what: &'static str) {
        *lock(&self.counts).entry(what).or_default() += 1;
    }

    /// How often each thing was done.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.counts).clone()
    }

    /// Notes what a task is about to do.
    pub fn doing(&self, task: &str, what: String) {
        lock(&self.doing).insert(task.to_owned(), (Instant::now(), what));
    }

    /// A task has ended.
    pub fn done(&self, task: &str) {
        lock(&self.doing).remove(task);
    }

    /// What has been under way for so long.
    pub fn stuck(&self, patience: Duration) -> Option<String> {
        let doing = lock(&self.doing);
        let stuck = doing
            .iter()
            .find(|(_, (since, _))| since.elapsed() > patience);
        stuck.map(|(task, (_, what))| format!("{task} waits for ever: {what}"))
    }

    /// What is under way, and what happened last.
    pub fn describe(&self) -> String {
        let mut text = String::from("In flight:\n");
        for (task, (since, what)) in lock(&self.doing).iter() {
            let _ = writeln!(text, "  {:>9.3?}  {task}: {what}", since.elapsed());
        }
        let _ = write!(text, "The last graph steps:\n{}", self.journal.recent());
        text
    }
}
