//! Notices when nothing moves.

use std::process;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::watch::Watch;

/// How long nothing may move.
const PATIENCE: Duration = Duration::from_secs(30);

/// The exit code for it.
const STUCK: i32 = 4;

/// A thread that ends the process when the main thread has made no step for
/// half a minute: a drain that waits for a request that waits for a drain. A
/// stuck thread cannot report that itself. Dropping it ends the thread.
#[derive(Debug)]
pub struct Watchdog {
    done: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Starts the thread.
    pub fn start(watch: Arc<Watch>) -> std::io::Result<Watchdog> {
        let (done, ended) = mpsc::channel();
        let guard = move || {
            let (mut known, mut since) = (watch.beats(), Instant::now());
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(Duration::from_secs(1)) {
                let beats = watch.beats();
                if beats != known {
                    (known, since) = (beats, Instant::now());
                } else if since.elapsed() >= PATIENCE {
                    eprintln!(
                        "quiesce: nothing has moved for {} seconds. That is a deadlock of the \
                         block layer (or a disk that does not answer). The last graph steps:\n{}",
                        PATIENCE.as_secs(),
                        watch.journal.recent()
                    );
                    process::exit(STUCK);
                }
            }
        };
        let thread = thread::Builder::new()
            .name("watchdog".into())
            .spawn(guard)?;
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
