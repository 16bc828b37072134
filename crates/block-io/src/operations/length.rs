//! How long a node is.

use block_common::IoError;

use crate::after::After;
use crate::{IoFuture, Request};

impl<'r> Request<'r> {
    /// Asks the driver for the length in bytes and notes it
    /// (`bdrv_co_refresh_total_sectors`).
    ///
    /// # Errors
    /// The driver's; [`IoError::OutOfRange`] for more than a node can have.
    pub fn refresh_length(self) -> IoFuture<'r, u64> {
        let node = self.node();
        loop {
            let noted = node.length();
            let running = match node.driver().length(self).into_ready() {
                Ok(length) => match self.note_length(noted, length) {
                    Ok(None) => continue,
                    Ok(Some(bytes)) => return IoFuture::ready(Ok(bytes)),
                    Err(error) => return IoFuture::failed(error),
                },
                Err(running) => running,
            };
            return IoFuture::new(async move {
                let mut noted = noted;
                let mut running = running;
                loop {
                    if let Some(bytes) = self.note_length(noted, running.await)? {
                        return Ok(bytes);
                    }
                    noted = node.length();
                    running = node.driver().length(self);
                }
            });
        }
    }

    /// Notes what the driver says, unless it may be out of date: a write or a
    /// truncation has ended since it was asked.
    fn note_length(self, noted: u64, length: Result<u64, IoError>) -> Result<Option<u64>, IoError> {
        let bytes = length?;
        let replaced = self.node().replace_length(noted, bytes)?;
        Ok(replaced.then_some(bytes))
    }

    /// Lets the driver forget what it keeps of the image
    /// (`bdrv_co_invalidate_cache`). The graph is not touched, nor are
    /// permissions: that is the share of the main loop in an activation.
    ///
    /// # Errors
    /// The driver's.
    pub fn invalidate_cache(self) -> IoFuture<'r> {
        let running = self.node().driver().invalidate_cache(self);
        running.then(After::void_only(self.node(), 0..u64::MAX))
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
