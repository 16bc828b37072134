//! Saying that contents are not needed any more.

use std::ops::Range;

use block_common::error::errno;
use block_common::{IoError, WriteFlags, limits};

use super::pad::next_piece;
use crate::after::After;
use crate::{IoFuture, Request};

impl<'r> Request<'r> {
    /// Says that `bytes` bytes from `offset` on are not needed any more
    /// (`bdrv_co_pdiscard`). A hint: nothing happens on a node that was not
    /// opened with `discard=unmap`, or whose driver cannot do it. What is read
    /// there afterwards is the old data or zeroes, as it pleases the driver.
    /// Never changes the length.
    ///
    /// # Errors
    /// As [`write`](Request::write).
    pub fn discard(self, offset: u64, bytes: u64) -> IoFuture<'r> {
        let checked = limits::check_request(offset, bytes)
            .and_then(|()| self.check_writable(WriteFlags::empty()));
        if let Err(error) = checked {
            return IoFuture::failed(error);
        }
        let length = self.node().length();
        let range = offset.min(length)..(offset + bytes).min(length);
        if range.is_empty() || !self.may_unmap() || !self.node().capabilities().discards {
            return IoFuture::done();
        }
        IoFuture::new(async move { self.discard_range(range).await })
    }

    async fn discard_range(self, mut range: Range<u64>) -> Result<(), IoError> {
        let _entered = self
            .enter_blocks(&range, WriteFlags::empty(), false)
            .await?;
        // It may have become shorter meanwhile.
        range.end = range.end.min(self.node().length());
        if range.is_empty() {
            return Ok(());
        }
        self.node().watch(&range);
        let bounds = self.limits();
        let alignment = u64::from(bounds.discard_alignment.max(bounds.request_alignment));
        let mut offset = range.start;
        while offset < range.end {
            // Parts of the driver's blocks go to it by themselves: it may
            // take them or not.
            let bytes = next_piece(&(offset..range.end), alignment, bounds.max_discard);
            let whole = offset.is_multiple_of(alignment) && bytes.is_multiple_of(alignment);
            let after = After::void(self.node(), offset..offset + bytes, false);
            let outcome = self.node().driver().discard(self, offset, bytes).await;
            drop(after);
            match outcome {
                Err(error) if error.errno() == errno::ENOTSUP => {}
                Err(error) if error.errno() == errno::EINVAL && !whole => {}
                outcome => outcome?,
            }
            offset += bytes;
        }
        Ok(())
    }
}
