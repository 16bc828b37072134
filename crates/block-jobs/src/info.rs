//! What a job tells about itself.

use std::fmt;

use crate::{IoStatus, JobStatus};

/// What a job does (`JobType`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum JobType {
    /// Writes an overlay into the image below.
    Commit,
    /// Copies what lies in backing images into the overlay.
    Stream,
    /// Copies a node to another one and keeps them the same.
    Mirror,
    /// Copies a node as it is at one moment.
    Backup,
    /// Makes an image.
    Create,
    /// Changes an image's options.
    Amend,
    /// Loads a snapshot of a machine.
    SnapshotLoad,
    /// Saves one.
    SnapshotSave,
    /// Deletes one.
    SnapshotDelete,
}

impl fmt::Display for JobType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            JobType::Commit => "commit",
            JobType::Stream => "stream",
            JobType::Mirror => "mirror",
            JobType::Backup => "backup",
            JobType::Create => "create",
            JobType::Amend => "amend",
            JobType::SnapshotLoad => "snapshot-load",
            JobType::SnapshotSave => "snapshot-save",
            JobType::SnapshotDelete => "snapshot-delete",
        })
    }
}

/// How far a job has come, in units of its own, bytes mostly
/// (`ProgressMeter`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// What is done.
    pub current: u64,
    /// What there is to do, as far as it is known. It may grow.
    pub total: u64,
}

/// What `query-jobs` answers for a job (`JobInfo`).
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct JobInfo {
    /// The id.
    pub id: String,
    /// What it does.
    pub kind: JobType,
    /// Its state.
    pub status: JobStatus,
    /// How far it has come.
    pub progress: Progress,
    /// Why it has failed, if it has.
    pub error: Option<String>,
}

/// What `query-block-jobs` answers for a job (`BlockJobInfo`).
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct BlockJobInfo {
    /// What it does.
    pub kind: JobType,
    /// The id.
    pub device: String,
    /// How far it has come (`offset` and `len`).
    pub progress: Progress,
    /// Whether its code runs, or could; not while it sleeps.
    pub busy: bool,
    /// Whether somebody wants it to pause, the user or a drained section.
    pub paused: bool,
    /// Its speed in bytes a second; 0 for no limit.
    pub speed: i64,
    /// Whether a request has failed.
    pub io_status: IoStatus,
    /// Whether it can be told to complete.
    pub ready: bool,
    /// Its state.
    pub status: JobStatus,
    /// Whether its outcome becomes lasting by itself.
    pub auto_finalize: bool,
    /// Whether it is forgotten by itself.
    pub auto_dismiss: bool,
    /// Why it has failed, if it has.
    pub error: Option<String>,
    /// Whether source and target are the same at every moment: of a mirror
    /// job only, which fills it in.
    pub actively_synced: Option<bool>,
}

/// What can be changed of a job that runs (`BlockJobChangeOptions`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum JobChange {
    /// When a mirror job copies what is written to its source.
    CopyMode(CopyMode),
}

/// When a mirror job copies what is written to its source (`MirrorCopyMode`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CopyMode {
    /// Some time later.
    Background,
    /// Before the write is done.
    WriteBlocking,
}

impl fmt::Display for CopyMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CopyMode::Background => "background",
            CopyMode::WriteBlocking => "write-blocking",
        })
    }
}
