//! Reading the past of a node that keeps it (`snapshot-access`).

use block_common::limits;

use super::BlockStatus;
use crate::{Destination, IoFuture, Request};

impl<'r> Request<'r> {
    /// Reads what was there at the time of the snapshot
    /// (`bdrv_co_preadv_snapshot`).
    ///
    /// # Errors
    /// [`IoError::NotSupported`](crate::IoError::NotSupported) for a node
    /// without a past; otherwise the driver's.
    pub fn read_snapshot(self, offset: u64, into: Destination<'r>) -> IoFuture<'r> {
        match limits::check_request(offset, into.len() as u64) {
            Ok(()) => self.node().driver().read_snapshot(self, offset, into),
            Err(error) => IoFuture::failed(error),
        }
    }

    /// Says that a range of the past is not needed any more
    /// (`bdrv_co_pdiscard_snapshot`).
    ///
    /// # Errors
    /// As [`read_snapshot`](Request::read_snapshot).
    pub fn discard_snapshot(self, offset: u64, bytes: u64) -> IoFuture<'r> {
        match limits::check_request(offset, bytes) {
            Ok(()) => self.node().driver().discard_snapshot(self, offset, bytes),
            Err(error) => IoFuture::failed(error),
        }
    }

    /// What is known about a range of the past
    /// (`bdrv_co_snapshot_block_status`).
    ///
    /// # Errors
    /// As [`read_snapshot`](Request::read_snapshot).
    pub fn snapshot_status(
        self,
        offset: u64,
        bytes: u64,
        precise: bool,
    ) -> IoFuture<'r, BlockStatus<'r>> {
        let driver = self.node().driver();
        match limits::check_request(offset, bytes) {
            Ok(()) => driver.snapshot_status(self, offset, bytes, precise),
            Err(error) => IoFuture::failed(error),
        }
    }
}
