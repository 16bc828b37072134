//! What the main thread has done to the graph lately.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// How many steps are remembered.
const REMEMBERED: usize = 24;

/// The graph steps, numbered from 1. Any thread may look; requests note the
/// number before and after, so that a mismatch can be put beside the steps
/// that it met.
#[derive(Debug, Default)]
pub struct Journal {
    step: AtomicU64,
    recent: Mutex<VecDeque<(u64, String)>>,
}

impl Journal {
    /// Notes that a step begins. Returns its number.
    pub fn begin(&self, what: String) -> u64 {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        // Inside the lock, so that the numbers come in order.
        let number = self.step.fetch_add(1, Ordering::Relaxed) + 1;
        if recent.len() == REMEMBERED {
            recent.pop_front();
        }
        recent.push_back((number, what));
        number
    }

    /// The number of the step that began last.
    pub fn step(&self) -> u64 {
        self.step.load(Ordering::Relaxed)
    }

    /// The last steps, one per line, oldest first.
    pub fn recent(&self) -> String {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for (number, what) in recent.iter() {
            let _ = writeln!(text, "  {number:>6}  {what}");
        }
        text
    }

    /// What the last step was.
    pub fn last(&self) -> String {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent
            .back()
            .map_or_else(String::new, |(_, what)| what.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_steps_are_kept_and_all_are_numbered() {
        let journal = Journal::default();
        for step in 1..=100 {
            assert_eq!(journal.begin(format!("step {step}")), step);
        }
        assert_eq!(journal.step(), 100);
        assert_eq!(journal.last(), "step 100");
        let recent = journal.recent();
        assert_eq!(recent.lines().count(), REMEMBERED);
        assert!(recent.starts_with("      77  step 77\n"), "{recent}");
    }
}
