//! What must not happen, and how it is told.

use std::fmt;

use block_gs::{GraphError, IoError};
use block_open::OpenError;

use super::pattern::Mismatch;

/// What a request was to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Read and compare.
    Read,
    /// Write.
    Write,
    /// Make earlier writes durable.
    Flush,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::Read => "read",
            Action::Write => "write",
            Action::Flush => "flush",
        })
    }
}

/// Which request it was.
#[derive(Clone, Debug)]
pub struct RequestId {
    /// The backend.
    pub backend: String,
    /// The task, by number.
    pub task: usize,
    /// How many requests the task had made before, plus one.
    pub number: u64,
    /// What it was to do.
    pub action: Action,
    /// Where, in bytes.
    pub offset: u64,
    /// How much, in bytes.
    pub bytes: usize,
    /// The last graph step before the request began, and before it was
    /// compared.
    pub steps: (u64, u64),
    /// The thread on which it ended.
    pub thread: String,
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} #{} of task {} on '{}' in thread {}, {} bytes at offset {}, begun after graph \
             step {} and ended after graph step {}",
            self.action,
            self.number,
            self.task,
            self.backend,
            self.thread,
            self.bytes,
            self.offset,
            self.steps.0,
            self.steps.1
        )
    }
}

/// Something that must not happen.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A byte is wrong.
    #[error(
        "corruption: {request}: the byte at offset {} is {:#04x} and must be {:#04x}",
        mismatch.at, mismatch.found, mismatch.expected
    )]
    Corruption {
        /// The request that read it.
        request: Box<RequestId>,
        /// The byte.
        mismatch: Mismatch,
    },
    /// A request failed that must not.
    #[error("failed request: {request}: {error}")]
    Request {
        /// The request.
        request: Box<RequestId>,
        /// Why.
        error: IoError,
    },
    /// A byte was wrong outside a request of the load: in a drained section,
    /// in the final check, in the file itself.
    #[error(
        "corruption: {place}: the byte at offset {} is {:#04x} and must be {:#04x} (after graph step \
         {step})",
        mismatch.at, mismatch.found, mismatch.expected
    )]
    WrongByte {
        /// What was read.
        place: String,
        /// The byte.
        mismatch: Mismatch,
        /// The last graph step.
        step: u64,
    },
    /// An image is not what its own tables say.
    #[error("{image} is not consistent (after graph step {step}): {findings}")]
    Inconsistent {
        /// Which.
        image: String,
        /// What was found.
        findings: String,
        /// The last graph step.
        step: u64,
    },
    /// The graph did something else than it promises.
    #[error("the block layer broke a promise in graph step {step}: {promise}")]
    Promise {
        /// The step.
        step: u64,
        /// What was promised, and what happened.
        promise: String,
    },
    /// A graph operation failed that must not.
    #[error("graph step {step} failed: {what}: {error}")]
    Graph {
        /// The step.
        step: u64,
        /// What was done.
        what: String,
        /// Why.
        error: GraphError,
    },
    /// An image could not be made, opened or reopened.
    #[error("graph step {step} failed: {what}: {error}")]
    Open {
        /// The step.
        step: u64,
        /// What was done.
        what: String,
        /// Why.
        error: OpenError,
    },
}

impl Failure {
    /// Whether bytes were wrong.
    pub fn is_corruption(&self) -> bool {
        matches!(self, Failure::Corruption { .. } | Failure::WrongByte { .. })
    }
}

/// The tour could not begin, or not go on: nothing wrong was found.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A file could not be made or read.
    #[error("{what} '{path}': {error}. {advice}")]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: String,
        /// Why it failed.
        error: std::io::Error,
        /// What to do.
        advice: &'static str,
    },
    /// The user's image cannot be used.
    #[error("cannot use '{path}' as an image: {reason}")]
    Image {
        /// The file.
        path: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The graph could not be built.
    #[error("{what}: {error}")]
    Graph {
        /// What was tried.
        what: String,
        /// Why it failed.
        error: GraphError,
    },
    /// An image could not be made or opened.
    #[error("{what}: {error}. With --dir it is tried in another directory")]
    Open {
        /// What was tried.
        what: String,
        /// Why it failed.
        error: OpenError,
    },
    /// The system refused something else.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        error: String,
    },
}

impl SetupError {
    /// For a file operation that failed.
    pub fn file(what: &'static str, path: &std::path::Path, error: std::io::Error) -> Self {
        use std::io::ErrorKind;
        let advice = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                "Free some space, choose another directory with --dir, or make the images smaller \
                 with --image-size"
            }
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                "Choose a directory that you may write to, with --dir or --pictures"
            }
            ErrorKind::NotFound => {
                "Check the path; --dir and TMPDIR must name existing directories"
            }
            _ => "Check the path, or choose another one with --dir or --pictures",
        };
        SetupError::File {
            what,
            path: path.display().to_string(),
            error,
            advice,
        }
    }

    /// For a graph operation that failed while the graph was built.
    pub fn graph(what: impl Into<String>, error: GraphError) -> Self {
        SetupError::Graph {
            what: what.into(),
            error,
        }
    }
}
