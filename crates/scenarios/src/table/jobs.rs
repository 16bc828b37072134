//! What needs jobs.

use super::{Scenario, waits};

/// States of a job.
pub(super) const BLOCKJOB: &[Scenario] = &[
    waits("/blockjob/ids", "jobs"),
    waits("/blockjob/cancel/created", "jobs"),
    waits("/blockjob/cancel/paused", "jobs"),
    waits("/blockjob/cancel/ready", "jobs"),
    waits("/blockjob/cancel/pending", "jobs"),
    waits("/blockjob/cancel/concluded", "jobs"),
];

/// Jobs that end together.
pub(super) const BLOCKJOB_TXN: &[Scenario] = &[
    waits("/single/success", "jobs"),
    waits("/single/failure", "jobs"),
    waits("/pair/success", "jobs"),
    waits("/pair/failure", "jobs"),
    waits("/pair/fail-cancel-race", "jobs"),
];
