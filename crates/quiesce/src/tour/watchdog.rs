//! Notices when nothing moves.

use std::process;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::failure::SetupError;

/// How long nothing may move.
const PATIENCE: Duration = Duration::from_secs(30);

/// The exit code for it.
const STUCK: i32 = 4;

/// A thread that ends the process when nothing has moved for
/// half a minute: a drain that waits for a request that waits for a drain. A
/// stuck thread cannot report that itself. Dropping it ends the thread.
#[derive(Debug)]
pub struct Watchdog {
    done: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Starts the thread. `beats` grows while something moves; `report` says
    /// what happened last.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(
        beats: impl Fn() -> u64 + Send + 'static,
        report: impl Fn() -> String + Send + 'static,
    ) -> Result<Watchdog, SetupError> {
        let (done, ended) = mpsc::channel();
        let guard = move || {
            let (mut known, mut since) = (beats(), Instant::now());
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(Duration::from_secs(1)) {
                let now = beats();
                if now != known {
                    (known, since) = (now, Instant::now());
                } else if since.elapsed() >= PATIENCE {
                    eprintln!(
                        "quiesce: nothing has moved for {} seconds. That is a deadlock of the \
                         block layer (or a disk that does not answer). {}",
                        PATIENCE.as_secs(),
                        report()
                    );
                    process::exit(STUCK);
                }
            }
        };
        let thread = thread::Builder::new()
            .name("watchdog".into())
            .spawn(guard)
            .map_err(|error| SetupError::System {
                what: "cannot start a thread",
                error: error.to_string(),
            })?;
        Ok(Watchdog {
            done: Some(done),
            thread: Some(thread),
        })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.done.take());
        if let Some(thread) = self.thread.take() {
            // It only sleeps and looks; there is nothing to report.
            let _ = thread.join();
        }
    }
}
