//! What came of it: a table for people, an object for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::shared::Shared;
use crate::draw;

/// The results of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where the random choices began.
    pub seed: u64,
    /// How long the load ran, in seconds.
    pub seconds: f64,
    /// Whether the user ended it early.
    pub interrupted: bool,
    /// Requests that ended.
    pub requests: u64,
    /// Requests that were dropped half way.
    pub requests_cancelled: u64,
    /// Requests that failed, as they were told to.
    pub requests_failed: u64,
    /// Bytes that were compared with the model.
    pub bytes_verified: u64,
    /// Bytes that were written, and reported so.
    pub bytes_written: u64,
    /// Whole files that were compared after a flush.
    pub flushes_checked: u64,
    /// Steps of the main thread.
    pub graph_steps: u64,
    /// Drained sections that were opened.
    pub drained_sections: u64,
    /// Bytes compared after the load had ended.
    pub final_bytes_verified: u64,
    /// Requests and steps, by kind.
    pub counts: BTreeMap<&'static str, u64>,
    /// What went wrong.
    pub failures: u64,
    /// The first failures, in words.
    pub failed: Vec<String>,
    /// What is kept of them: pictures and images.
    pub kept: Vec<PathBuf>,
}

impl Report {
    /// Sums up.
    pub fn new(seed: u64, shared: &Shared) -> Report {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Report {
            seed,
            seconds: 0.0,
            interrupted: shared.run.was_interrupted(),
            requests: get(&shared.requests),
            requests_cancelled: get(&shared.cancelled),
            requests_failed: get(&shared.failed),
            bytes_verified: get(&shared.verified),
            bytes_written: get(&shared.written),
            flushes_checked: get(&shared.flushes_checked),
            graph_steps: shared.run.journal.step(),
            drained_sections: 0,
            final_bytes_verified: 0,
            counts: shared.run.counts(),
            failures: shared.run.failures(),
            failed: shared.run.told(),
            kept: Vec::new(),
        }
    }

    /// The table.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let mut row = |label: &str, value: String| {
            let _ = writeln!(text, "  {label:<34}{value:>14}");
        };
        row("Requests", self.requests.to_string());
        row("  dropped half way", self.requests_cancelled.to_string());
        row("  made to fail", self.requests_failed.to_string());
        row("Compared", draw::length(self.bytes_verified));
        row("Written", draw::length(self.bytes_written));
        row(
            "Files compared after a flush",
            self.flushes_checked.to_string(),
        );
        row("Graph steps", self.graph_steps.to_string());
        row("Drained sections", self.drained_sections.to_string());
        row(
            "Compared in the end",
            draw::length(self.final_bytes_verified),
        );
        for (what, count) in &self.counts {
            row(&format!("  {what}"), count.to_string());
        }
        row("Failures", self.failures.to_string());
        text
    }
}
