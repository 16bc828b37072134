//! What is done to an image as a whole: amended, renamed, deleted.

use std::any::Any;
use std::fmt;

use block_common::IoError;
use block_common::error::errno;

use crate::node::NodeFlags;
use crate::{GsAccess, IoFuture, NodeUid, Request};

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
