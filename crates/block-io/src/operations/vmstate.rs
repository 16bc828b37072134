//! The state of a virtual machine, kept in an image beside the disk.

use block_common::limits;

use crate::{Destination, IoFuture, Request, Source};

impl<'r> Request<'r> {
    /// Writes a piece of the state, `position` bytes into it
    /// (`bdrv_co_writev_vmstate`). A node that keeps none hands it to the
    /// child that it stands on.
    ///
    /// # Errors
    /// [`IoError::OutOfRange`](crate::IoError::OutOfRange);
    /// [`IoError::NotSupported`](crate::IoError::NotSupported) where nobody
    /// keeps state; otherwise the driver's.
    pub fn save_vmstate(self, position: u64, from: Source<'r>) -> IoFuture<'r> {
        match limits::check_request(position, from.len() as u64) {
            Ok(()) => self.node().driver().save_vmstate(self, position, from),
            Err(error) => IoFuture::failed(error),
        }
    }

    /// Reads a piece of the state (`bdrv_co_readv_vmstate`).
    ///
    /// # Errors
    /// As [`save_vmstate`](Request::save_vmstate).
    pub fn load_vmstate(self, position: u64, into: Destination<'r>) -> IoFuture<'r> {
        match limits::check_request(position, into.len() as u64) {
            Ok(()) => self.node().driver().load_vmstate(self, position, into),
            Err(error) => IoFuture::failed(error),
        }
    }
}
