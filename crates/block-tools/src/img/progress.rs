//! How far a command is (`-p`).

use std::io::Write;
use std::sync::{Mutex, PoisonError};

/// A line that says how far a command is: `    (12.34/100%)`.
pub(super) struct Progress {
    state: Option<Mutex<State>>,
}

struct State {
    percent: f32,
    printed: f32,
    /// The least that is worth a line.
    step: f32,
}

impl Progress {
    /// Begins; says nothing at all unless `shown`. Changes of less than `step`
    /// percent are not shown.
    pub fn new(shown: bool, step: f32) -> Self {
        let state = State {
            percent: 0.0,
            printed: 0.0,
            step,
        };
        Progress {
            state: shown.then(|| Mutex::new(state)),
        }
    }

    /// Whether anything is said.
    pub fn is_shown(&self) -> bool {
        self.state.is_some()
    }

    /// So far it is.
    pub fn is_at(&self, percent: f32) {
        self.change(|_| percent);
    }

    /// So much has been done since.
    pub fn add(&self, percent: f32) {
        self.change(|before| before + percent);
    }

    fn change(&self, new: impl FnOnce(f32) -> f32) {
        let Some(state) = &self.state else {
            return;
        };
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let percent = new(state.percent).min(100.0);
        state.percent = percent;
        let moved = (percent - state.printed).abs() > state.step;
        if moved || percent == 100.0 || percent == 0.0 {
            state.printed = percent;
            let mut out = std::io::stdout().lock();
            let _ = write!(out, "    ({percent:.2}/100%)\r");
            let _ = out.flush();
        }
    }
}

/// The line ends.
impl Drop for Progress {
    fn drop(&mut self) {
        if self.state.is_some() {
            super::say("\n");
        }
    }
}
