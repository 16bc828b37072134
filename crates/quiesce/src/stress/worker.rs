//! The tasks that send requests.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use block_gs::IoError;
use block_io::aio::{AioContext, yield_now};
use block_io::{Buffer, InFlight};

use super::cancel::{Patience, wait};
use super::disk::Disk;
use super::requests;
use super::shared::Shared;
use crate::tour::rng::Rng;

/// Errors that were injected have this number, and no real ones do
/// (`EREMOTEIO`).
pub const INJECTED: i32 = 121;

/// The longest request, in bytes.
pub const LONGEST: u64 = 48 << 10;

/// What a request does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Read and compare.
    Read,
    /// The same, through the second backend.
    ReadBelow,
    /// Write.
    Write,
    /// Write in a way that ends beyond the disk.
    Grow,
    /// Write zeroes.
    Zero,
    /// Discard.
    Discard,
    /// Flush, and now and then compare the file.
    Flush,
    /// Change the length.
    Truncate,
    /// Ask what is stored where.
    Status,
    /// Copy one range to another.
    Copy,
    /// Several writes at once that overlap.
    Overlap,
}

impl Action {
    fn some(rng: &mut Rng) -> Action {
        match rng.below(64) {
            0..18 => Action::Read,
            18..21 => Action::ReadBelow,
            21..40 => Action::Write,
            40 => Action::Grow,
            41..46 => Action::Zero,
            46..50 => Action::Discard,
            50..53 => Action::Flush,
            53 => Action::Truncate,
            54..58 => Action::Status,
            58..62 => Action::Copy,
            _ => Action::Overlap,
        }
    }
}

/// A task that sends requests to one disk.
pub struct Worker {
    /// How it is called.
    pub name: String,
    /// Where its requests go.
    pub disk: Arc<Disk>,
    /// What it shares with everybody.
    pub shared: Arc<Shared>,
    /// Its choices.
    pub rng: Rng,
    /// For reads.
    pub buffer: Buffer,
    /// The threads that overlapping writes come from.
    pub contexts: Vec<AioContext>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Worker({})", self.name)
    }
}

/// Counts a request as active. Declared after the proof of the request, hence
/// dropped before it.
#[derive(Debug)]
pub struct Active<'a>(&'a AtomicU64);

impl<'a> Active<'a> {
    /// Counts one.
    pub fn enter(_proof: &InFlight<'_>, active: &'a AtomicU64) -> Self {
        active.fetch_add(1, Ordering::SeqCst);
        Active(active)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Worker {
    /// Sends requests until it is told to stop.
    pub async fn run(mut self) {
        while !self.shared.run.is_stopping() {
            let action = Action::some(&mut self.rng);
            if let Err(what) = requests::perform(&mut self, action).await {
                self.shared.fail(format!("{}: {what}", self.name));
            }
            if self.rng.once_in(8) {
                yield_now().await;
            }
        }
        self.shared.done(&self.name);
    }

    /// Notes what is about to be done.
    pub fn note(&self, what: &str) {
        self.shared
            .doing(&self.name, format!("{what} of '{}'", self.disk.name));
    }
}

/// What became of a request.
#[derive(Debug)]
pub enum Outcome<T> {
    /// It succeeded.
    Done(T),
    /// It failed as it was told to, or was dropped: nobody knows what it did.
    Unknown,
    /// The layer or a driver refused it, and has done nothing.
    Refused,
}

/// Runs a request, perhaps not to its end. `refusals` are the errors with
/// which it may be refused.
pub async fn attempt<T>(
    shared: &Shared,
    patience: Patience,
    refusals: &[fn(&IoError) -> bool],
    request: impl Future<Output = Result<T, IoError>>,
) -> Result<Outcome<T>, String> {
    let done = wait(patience, request).await;
    shared.requests.fetch_add(1, Ordering::Relaxed);
    match done {
        None => {
            shared.cancelled.fetch_add(1, Ordering::Relaxed);
            Ok(Outcome::Unknown)
        }
        Some(Ok(done)) => Ok(Outcome::Done(done)),
        Some(Err(error)) if error.errno() == INJECTED => {
            shared.failed.fetch_add(1, Ordering::Relaxed);
            Ok(Outcome::Unknown)
        }
        Some(Err(error)) if refusals.iter().any(|refusal| refusal(&error)) => Ok(Outcome::Refused),
        Some(Err(error)) => Err(format!("failed: {error} (errno {})", error.errno())),
    }
}
