//! How long a node is.

use block_common::IoError;

use crate::{IoFuture, Request};

impl<'r> Request<'r> {
    /// Asks the driver for the length in bytes and notes it
    /// (`bdrv_co_refresh_total_sectors`).
    ///
    /// # Errors
    /// The driver's; [`IoError::OutOfRange`] for more than a node can have.
    pub fn refresh_length(self) -> IoFuture<'r, u64> {
        let note = move |length: Result<u64, IoError>| {
            let bytes = length?;
            self.node().set_length(bytes)?;
            Ok(bytes)
        };
        match self.node().driver().length(self).into_ready() {
            Ok(length) => IoFuture::ready(note(length)),
            Err(running) => IoFuture::new(async move { note(running.await) }),
        }
    }

    /// The length in bytes (`bdrv_co_getlength`): the noted one, unless it
    /// may have changed behind the node's back.
    ///
    /// # Errors
    /// As [`refresh_length`](Request::refresh_length).
    pub fn length(self) -> IoFuture<'r, u64> {
        if self.node().has_uncertain_length() {
            self.refresh_length()
        } else {
            IoFuture::ready(Ok(self.node().length()))
        }
    }
}
