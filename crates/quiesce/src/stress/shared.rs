//! What all threads of the run share.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use crate::run::{Run, lock};

/// The state that the threads share.
#[derive(Debug, Default)]
pub struct Shared {
    /// What any run has.
    pub run: Run<&'static str, String>,
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
}

impl Shared {
    /// Notes something that must not happen, and ends the run.
    pub fn fail(&self, what: String) {
        let step = self.run.journal.step();
        self.run.fail(format!("{what} (graph step {step})"));
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
        let _ = write!(text, "The last graph steps:\n{}", self.run.journal.recent());
        text
    }
}
