//! A progress bar for runs that take long.

use std::io::IsTerminal;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Runs shorter than this show nothing.
const PATIENCE: Duration = Duration::from_secs(1);
const REDRAW_EVERY: Duration = Duration::from_millis(100);

/// Shows how far the run is, on a terminal, from a thread that does not
/// disturb the loops.
#[derive(Debug)]
pub struct Progress {
    drawer: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// Begins to watch `done`, which goes up to `total`.
    pub fn start(wanted: bool, total: u64, done: impl Fn() -> u64 + Send + 'static) -> Self {
        if !wanted || !std::io::stderr().is_terminal() {
            return Progress { drawer: None };
        }
        let (end, ended) = channel();
        let draw = move || {
            let start = Instant::now();
            let mut bar = None;
            while ended.recv_timeout(REDRAW_EVERY) == Err(RecvTimeoutError::Timeout) {
                if start.elapsed() >= PATIENCE {
                    bar.get_or_insert_with(|| self::bar(total))
                        .set_position(done());
                }
            }
            if let Some(bar) = bar {
                bar.finish_and_clear();
            }
        };
        // Without a thread there is no bar, and nothing else is missing.
        let thread = thread::Builder::new().name("progress".into()).spawn(draw);
        Progress {
            drawer: thread.ok().map(|thread| (end, thread)),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.drawer.take() {
            drop(end);
            let _ = thread.join();
        }
    }
}

fn bar(total: u64) -> ProgressBar {
    let target = ProgressDrawTarget::stderr_with_hz(10);
    let bar = ProgressBar::with_draw_target(Some(total), target);
    let template = "{bar:32.cyan/blue} {human_pos}/{human_len} requests, {eta} left";
    // The template is a constant; the default style shows if it were wrong.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("━╸─"));
    }
    bar
}
