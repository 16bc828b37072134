//! Jobs.

use super::{Scenario, same};

/// States of a job.
pub(super) const BLOCKJOB: &[Scenario] = &[
    same("/blockjob/ids"),
    same("/blockjob/cancel/created"),
    same("/blockjob/cancel/paused"),
    same("/blockjob/cancel/ready"),
    same("/blockjob/cancel/pending"),
    same("/blockjob/cancel/concluded"),
];

/// Jobs that end together.
pub(super) const BLOCKJOB_TXN: &[Scenario] = &[
    same("/single/success"),
    same("/single/failure"),
    same("/pair/success"),
    same("/pair/failure"),
    same("/pair/fail-cancel-race"),
];
