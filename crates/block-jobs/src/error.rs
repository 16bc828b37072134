//! What can go wrong, in QEMU's words.

use block_common::error::errno;
use block_common::{GraphError, IoError};

use crate::{JobStatus, JobVerb};

/// Why something was refused that somebody asked of a job, or of all of them.
#[derive(Debug, thiserror::Error)]
#[must_use = "nothing was done"]
#[non_exhaustive]
pub enum JobError {
    /// Not in this state.
    #[error("Job '{id}' in state '{status}' cannot accept command verb '{verb}'")]
    WrongState {
        /// The job; empty for an internal one.
        id: String,
        /// Its state.
        status: JobStatus,
        /// What was asked for.
        verb: JobVerb,
    },
    /// No job has this id (`job-*`).
    #[error("Job not found")]
    NotFound,
    /// No block job has this id (`block-job-*`).
    #[error("Block job '{0}' not found")]
    BlockJobNotFound(String),
    /// The user has paused it before.
    #[error("Job is already paused")]
    AlreadyPaused,
    /// The user has not paused it.
    #[error("Can't resume a job that was not paused")]
    NotPaused,
    /// It ends by itself, or it was cancelled.
    #[error("The active block job '{0}' cannot be completed")]
    CannotComplete(String),
    /// Without force nothing is cancelled that cannot react.
    #[error("The block job for device '{0}' is currently paused")]
    Paused(String),
    /// A speed below zero.
    #[error("Parameter 'speed' expects a non-negative value")]
    NegativeSpeed,
    /// Nothing about this type of job can be changed.
    #[error("Job type does not support change")]
    ChangeNotSupported,
    /// A name that no job can have.
    #[error("Invalid job ID '{0}'")]
    InvalidId(String),
    /// Another job has the name.
    #[error("Job ID '{0}' already in use")]
    IdInUse(String),
    /// There is no node from whose device the name could come.
    #[error("An explicit job ID is required")]
    IdRequired,
    /// Nobody outside is to see it, so it has no name.
    #[error("Cannot specify job ID for internal job")]
    IdOfInternalJob,
    /// Nobody outside is to see it.
    #[error("Cannot query QEMU internal jobs")]
    QueryOfInternalJob,
    /// A backend of a job leads to a node that the job does not hold.
    #[error("The job does not hold node '{0}'")]
    NodeNotHeld(String),
    /// The job is gone, or was not made for nodes.
    #[error("Job '{0}' holds no nodes")]
    HoldsNoNodes(String),
    /// The job was started, or cancelled, or its transaction has failed.
    #[error("Job '{0}' cannot be started any more")]
    NotStartable(String),
    /// The graph refuses.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The job's driver refuses, or the job has failed.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl JobError {
    /// The errno a C caller would see, as a positive number.
    pub fn errno(&self) -> i32 {
        match self {
            JobError::WrongState { .. } => errno::EPERM,
            JobError::NotFound | JobError::BlockJobNotFound(_) => errno::ENOENT,
            JobError::Graph(error) => error.errno(),
            JobError::Failed(failure) => failure.errno(),
            JobError::AlreadyPaused
            | JobError::NotPaused
            | JobError::CannotComplete(_)
            | JobError::Paused(_) => errno::EBUSY,
            _ => errno::EINVAL,
        }
    }

    /// The class of the error in QMP.
    pub fn class(&self) -> &'static str {
        match self {
            JobError::BlockJobNotFound(_) => "DeviceNotActive",
            _ => "GenericError",
        }
    }
}

/// Why a job has failed: an errno and words (`job->ret` and `job->err`).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    errno: i32,
    message: String,
}

impl Failure {
    /// A failure in the kernel's words for `errno`, a positive number.
    pub fn from_errno(errno: i32) -> Self {
        Failure {
            errno,
            message: IoError::from_errno(errno).to_string(),
        }
    }

    /// A failure in words.
    pub fn new(errno: i32, message: impl Into<String>) -> Self {
        Failure {
            errno,
            message: message.into(),
        }
    }

    /// What has become of a job that was cancelled.
    pub fn cancelled() -> Self {
        Failure::from_errno(errno::ECANCELED)
    }

    /// The errno, as a positive number.
    pub fn errno(&self) -> i32 {
        self.errno
    }
}

impl From<IoError> for Failure {
    fn from(error: IoError) -> Self {
        Failure::new(error.errno(), error.to_string())
    }
}

impl From<GraphError> for Failure {
    fn from(error: GraphError) -> Self {
        Failure::new(error.errno(), error.to_string())
    }
}

impl From<JobError> for Failure {
    fn from(error: JobError) -> Self {
        Failure::new(error.errno(), error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_qemus() {
        let id = || "j0".to_owned();
        let texts = [
            (
                JobError::WrongState {
                    id: id(),
                    status: JobStatus::Running,
                    verb: JobVerb::SetSpeed,
                },
                "Job 'j0' in state 'running' cannot accept command verb 'set-speed'",
            ),
            (JobError::NotFound, "Job not found"),
            (JobError::BlockJobNotFound(id()), "Block job 'j0' not found"),
            (JobError::AlreadyPaused, "Job is already paused"),
            (
                JobError::NotPaused,
                "Can't resume a job that was not paused",
            ),
            (
                JobError::CannotComplete(id()),
                "The active block job 'j0' cannot be completed",
            ),
            (
                JobError::Paused(id()),
                "The block job for device 'j0' is currently paused",
            ),
            (
                JobError::NegativeSpeed,
                "Parameter 'speed' expects a non-negative value",
            ),
            (
                JobError::ChangeNotSupported,
                "Job type does not support change",
            ),
            (JobError::InvalidId(String::new()), "Invalid job ID ''"),
            (JobError::IdInUse(id()), "Job ID 'j0' already in use"),
            (JobError::IdRequired, "An explicit job ID is required"),
            (
                JobError::IdOfInternalJob,
                "Cannot specify job ID for internal job",
            ),
            (
                JobError::QueryOfInternalJob,
                "Cannot query QEMU internal jobs",
            ),
        ];
        for (error, text) in texts {
            assert_eq!(error.to_string(), text);
        }
        assert_eq!(Failure::cancelled().to_string(), "Operation canceled");
        assert_eq!(JobError::BlockJobNotFound(id()).class(), "DeviceNotActive");
    }
}
