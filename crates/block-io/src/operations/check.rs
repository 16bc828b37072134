//! Checks: whether an image is consistent, and what is repaired.
//!
//! What a check finds is told when it is found, one thing after the other, and
//! not kept: an image can have more wrong with it than memory has room for.

use std::any::Any;
use std::fmt;

use crate::{IoFuture, Request};

bitflags::bitflags! {
    /// What a check repairs (`BdrvCheckMode`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Repairs: u8 {
        /// Clusters that nobody uses (`BDRV_FIX_LEAKS`).
        const LEAKS = 1;
        /// What is wrong with the image (`BDRV_FIX_ERRORS`).
        const ERRORS = 2;
    }
}

/// What a check has found (`BdrvCheckResult`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CheckResult {
    /// Things wrong with the image.
    pub corruptions: u64,
    /// Clusters that nobody uses.
    pub leaks: u64,
    /// Things that could not be looked at.
    pub check_errors: u64,
    /// How many corruptions have been repaired.
    pub corruptions_fixed: u64,
    /// How many leaks have been repaired.
    pub leaks_fixed: u64,
    /// Where the used part of the file ends, if that is known.
    pub image_end: Option<u64>,
    /// How the clusters lie, if the format counts them.
    pub clusters: Option<Clusters>,
}

/// How the clusters of an image lie (`BlockFragInfo`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Clusters {
    /// How many there are.
    pub total: u64,
    /// How many of them hold something.
    pub allocated: u64,
    /// How many do not follow the one before.
    pub fragmented: u64,
    /// How many are compressed.
    pub compressed: u64,
}

/// Something that a check has found or done. It shows itself in the lines, one
/// or more and without an end of line behind the last, that QEMU's tools print
/// on standard error. The type behind it is the driver's own; `dyn Any` has
/// it.
pub trait Finding: Any + fmt::Debug + fmt::Display {
    /// Whether a program says it in its own name (`error_report`): something
    /// went wrong with the check itself.
    fn is_report(&self) -> bool {
        false
    }
}

/// Who hears what a check finds. It is called in the middle of the check, so
/// it must not ask anything of the image.
pub trait Findings: Sync {
    /// Hears one of them.
    fn hear(&self, finding: &dyn Finding);
}

impl<F: Fn(&dyn Finding) + Sync> Findings for F {
    fn hear(&self, finding: &dyn Finding) {
        self(finding);
    }
}

/// Nobody hears.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Unheard;

impl Findings for Unheard {
    fn hear(&self, _finding: &dyn Finding) {}
}

impl<'r> Request<'r> {
    /// Looks whether the image is consistent, and repairs what it is told to
    /// (`bdrv_co_check`). Nobody hears the findings.
    ///
    /// # Errors
    /// [`NotSupported`](crate::IoError::NotSupported) when the driver has no
    /// check; otherwise the driver's.
    pub fn check(self, repairs: Repairs) -> IoFuture<'r, CheckResult> {
        self.check_telling(repairs, &Unheard)
    }

    /// As [`check`](Request::check); `findings` hears what is found, at once.
    ///
    /// # Errors
    /// As [`check`](Request::check).
    pub fn check_telling(
        self,
        repairs: Repairs,
        findings: &'r dyn Findings,
    ) -> IoFuture<'r, CheckResult> {
        self.node().driver().check(self, repairs, findings)
    }
}
