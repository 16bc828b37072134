//! Copying within the host.

use block_common::{IoError, WriteFlags, limits};

use super::pad;
use crate::after::After;
use crate::{CopyEnd, IoFuture, Request};

impl<'r> Request<'r> {
    /// Copies `bytes` bytes from `offset` of this node to `to`, without
    /// reading them, where the host can (`bdrv_co_copy_range`).
    ///
    /// # Errors
    /// [`IoError::NotSupported`] when the bytes have to be read and written
    /// (some may have been copied already); also where something overlaps
    /// that would have to be waited for. Otherwise those of
    /// [`read`](Request::read) and [`write`](Request::write).
    pub fn copy_range(
        self,
        offset: u64,
        to: CopyEnd<'r>,
        bytes: u64,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        let checked = limits::check_request(offset, bytes)
            .and_then(|()| limits::check_request(to.offset, bytes))
            .and_then(|()| to.request.check_writable(flags));
        if let Err(error) = checked {
            return IoFuture::failed(error);
        }
        if bytes == 0 {
            return IoFuture::done();
        }
        IoFuture::new(async move {
            let source = offset..offset + bytes;
            let alignment = self.limits().request_alignment;
            if pad::align(&source, alignment) != source || source.end > self.length().await? {
                return Err(IoError::NotSupported);
            }
            let node = self.node();
            let _entered = match node.has_plain_reads() {
                true => None,
                false => Some(node.overlaps().enter(source, false).await),
            };
            node.driver()
                .copy_range_from(self, offset, to, bytes, flags)
                .await
        })
    }

    /// The second half, for a driver of a protocol that is copied from: asks
    /// the node that is copied to.
    ///
    /// # Errors
    /// As [`copy_range`](Request::copy_range).
    pub fn copy_range_to(
        self,
        offset: u64,
        from: CopyEnd<'r>,
        bytes: u64,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        let checked = limits::check_request(offset, bytes)
            .and_then(|()| limits::check_request(from.offset, bytes))
            .and_then(|()| self.check_writable(flags));
        if let Err(error) = checked {
            return IoFuture::failed(error);
        }
        if bytes == 0 {
            return IoFuture::done();
        }
        let flags = self.without_idle_fua(flags);
        IoFuture::new(async move {
            let range = offset..offset + bytes;
            if pad::align(&range, self.limits().request_alignment) != range {
                return Err(IoError::NotSupported);
            }
            let node = self.node();
            let fua = self.split_flags(flags)?;
            // The source is entered and may be waited for: who waits here in
            // turn could wait for himself. The bytes can be read and written
            // instead, which waits for one at a time.
            let at_once = flags | WriteFlags::NO_WAIT;
            let entered = self.enter_write(&range, &range, at_once, false).await;
            let _entered = match entered {
                Err(IoError::Busy) if !flags.contains(WriteFlags::NO_WAIT) => {
                    return Err(IoError::NotSupported);
                }
                entered => entered?,
            };
            let after = After::void(node, range, true);
            let driver = node.driver();
            let copied = driver
                .copy_range_to(self, offset, from, bytes, fua.native)
                .await;
            after.run(copied.is_ok());
            copied?;
            self.finish(fua).await
        })
    }
}
