//! What is done to an image as a whole: checked, amended, renamed, deleted.

use std::any::Any;
use std::fmt;

use block_common::IoError;
use block_common::error::errno;

use crate::node::NodeFlags;
use crate::{GsAccess, IoFuture, NodeUid, Request};

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

/// What the header of an image is to say about its backing image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BackingName<'n> {
    /// Its file name.
    pub file: &'n str,
    /// Its format.
    pub format: Option<&'n str>,
}

/// What the main loop has prepared for an amendment, for one node
/// (`bdrv_amend_pre_run`). Only `block_gs::Node::prepare_amend` makes one, so
/// no amendment runs unprepared.
pub struct AmendReady {
    node: NodeUid,
    kept: Box<dyn Any + Send + Sync>,
    progress: Option<Box<AmendProgress>>,
}

/// Is told how far an amendment is: so much of so much. Both may be estimates
/// (`BlockDriverAmendStatusCB`).
pub type AmendProgress = dyn Fn(u64, u64) + Send + Sync;

impl fmt::Debug for AmendReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AmendReady({:?})", self.node)
    }
}

impl AmendReady {
    /// What a driver has prepared for `node`.
    pub fn new(_gs: &GsAccess, node: NodeUid, kept: Box<dyn Any + Send + Sync>) -> Self {
        AmendReady {
            node,
            kept,
            progress: None,
        }
    }

    /// Lets `progress` be told how far it is.
    pub fn telling(mut self, progress: Box<AmendProgress>) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Says how far the driver is.
    pub fn tell(&self, done: u64, all: u64) {
        if let Some(progress) = &self.progress {
            progress(done, all);
        }
    }

    /// What the driver has prepared, if it is a `T`.
    pub fn kept<T: Any>(&self) -> Option<&T> {
        self.kept.downcast_ref()
    }

    /// What the driver has prepared, back.
    pub fn into_kept(self, _gs: &GsAccess) -> Box<dyn Any + Send + Sync> {
        self.kept
    }
}

impl<'r> Request<'r> {
    /// Looks whether the image is consistent, and repairs what it is told to
    /// (`bdrv_co_check`).
    ///
    /// # Errors
    /// [`IoError::NotSupported`] when the driver has no check; otherwise the
    /// driver's.
    pub fn check(self, repairs: Repairs) -> IoFuture<'r, CheckResult> {
        self.node().driver().check(self, repairs)
    }

    /// Changes options of the image as it was prepared (`bdrv_co_amend`).
    ///
    /// # Errors
    /// `EINVAL` when it was prepared for another node; otherwise the
    /// driver's.
    pub fn amend(self, ready: &'r AmendReady) -> IoFuture<'r> {
        if ready.node != self.node().uid() {
            let text = "The amendment was prepared for another node";
            return IoFuture::failed(IoError::refused(errno::EINVAL, text));
        }
        self.node().driver().amend(self, ready)
    }

    /// Writes into the header which backing image belongs to the image, `None`
    /// for none (`bdrv_co_change_backing_file`). The graph is not changed.
    ///
    /// # Errors
    /// `EINVAL` for a name without a format, [`IoError::NotSupported`] for an
    /// image without such a header; otherwise the driver's.
    pub fn change_backing_file(self, to: Option<BackingName<'r>>) -> IoFuture<'r> {
        if to.is_some_and(|name| name.format.is_none()) {
            return IoFuture::failed(IoError::from_errno(errno::EINVAL));
        }
        self.node().driver().change_backing_file(self, to)
    }

    /// Deletes the image's file (`bdrv_co_delete_file`).
    ///
    /// # Errors
    /// [`IoError::NotSupported`] when the driver cannot; otherwise the
    /// driver's.
    pub fn delete_file(self) -> IoFuture<'r> {
        self.node().driver().delete_file(self)
    }

    /// Says which step of its work the driver above has reached
    /// (`bdrv_co_debug_event`). A node for debugging may fail or hold
    /// requests from there on; others do nothing.
    ///
    /// # Errors
    /// The driver's.
    pub fn debug_event(self, event: &'static str) -> IoFuture<'r> {
        match self.node().flags().contains(NodeFlags::HEARS_EVENTS) {
            true => self.node().driver().debug_event(self, event),
            false => IoFuture::done(),
        }
    }

    /// Whether the node wants to hear of [steps](Request::debug_event): for
    /// drivers above, which have ways that are too short for steps.
    #[inline]
    pub fn hears_events(self) -> bool {
        self.node().flags().contains(NodeFlags::HEARS_EVENTS)
    }

    /// Reports a step of the layer's own work. A driver that fails it fails
    /// the requests that follow, not the step.
    pub(super) async fn report(self, event: &'static str) {
        if self.node().flags().contains(NodeFlags::HEARS_EVENTS) {
            let _ = self.node().driver().debug_event(self, event).await;
        }
    }
}
