//! Progress, on the standard error stream.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often it is shown where lines cannot be rewritten.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// How often where they can.
const REDRAW_EVERY: Duration = Duration::from_millis(100);

/// What is shown.
#[derive(Debug)]
pub struct Now {
    /// Requests that have ended so far; shown as a rate.
    pub requests: u64,
    /// Other numbers.
    pub numbers: String,
    /// What is going on.
    pub message: String,
}

/// Shows how far a run is: a bar on a terminal, now and then a line
/// elsewhere, nothing when quiet.
#[derive(Debug)]
pub struct Progress {
    shown: Shown,
    total: Duration,
    start: Instant,
    last: Instant,
    requests: u64,
}

#[derive(Debug)]
enum Shown {
    Bar(ProgressBar),
    Lines,
    Nothing,
}

impl Progress {
    /// Of a run of this length.
    pub fn new(total: Duration, quiet: bool) -> Self {
        let shown = match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Shown::Nothing,
            (false, true) => Shown::Bar(bar(total)),
            (false, false) => Shown::Lines,
        };
        let now = Instant::now();
        Progress {
            shown,
            total,
            start: now,
            last: now,
            requests: 0,
        }
    }

    /// Shows it if it is time to.
    pub fn update(&mut self, now_is: impl FnOnce() -> Now) {
        let now = Instant::now();
        let since = now - self.last;
        let due = match self.shown {
            Shown::Nothing => return,
            Shown::Bar(_) => REDRAW_EVERY,
            Shown::Lines => LINE_EVERY,
        };
        if since < due {
            return;
        }
        let Now {
            requests,
            numbers,
            message,
        } = now_is();
        let rate = requests.saturating_sub(self.requests) as f64 / since.as_secs_f64();
        (self.last, self.requests) = (now, requests);
        let numbers = format!("{rate:.0} requests/s, {numbers}");
        let elapsed = now - self.start;
        match &self.shown {
            Shown::Bar(bar) => {
                bar.set_position(elapsed.min(self.total).as_millis() as u64);
                bar.set_prefix(numbers);
                bar.set_message(message);
            }
            Shown::Lines => eprintln!("{:>3} s  {numbers}", elapsed.as_secs()),
            Shown::Nothing => {}
        }
    }

    /// Makes room for the table.
    pub fn finish(self) {
        if let Shown::Bar(bar) = self.shown {
            bar.finish_and_clear();
        }
    }
}

fn bar(total: Duration) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(
        Some(total.as_millis() as u64),
        ProgressDrawTarget::stderr_with_hz(10),
    );
    let template = "{bar:32.cyan/blue} {elapsed_precise}  {prefix}\n{wide_msg:.dim}";
    // The template is a constant; the default style shows if it were wrong.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("━╸─"));
    }
    bar
}
