//! Making writes durable.

use block_common::IoError;

use crate::node::NodeFlags;
use crate::{IoFuture, Request};

impl<'r> Request<'r> {
    /// Makes earlier writes durable, in this node and below
    /// (`bdrv_co_flush`). Nothing on a node that is read-only or inactive.
    ///
    /// # Errors
    /// Earlier writes may be lost in a crash.
    pub fn flush(self) -> IoFuture<'r> {
        let unwritten = NodeFlags::READ_ONLY.union(NodeFlags::INACTIVE);
        if self.node().flags().intersects(unwritten) {
            return IoFuture::done();
        }
        self.node().driver().flush(self)
    }

    /// The steps of a flush: what the driver keeps, then what the host keeps
    /// of this node, then every child that the node writes to. All children
    /// are tried; the first error is reported.
    ///
    /// # Errors
    /// As [`flush`](Request::flush).
    pub fn flush_layers(self) -> IoFuture<'r> {
        if let Some(below) = self.primary()
            && below.node().flags().contains(NodeFlags::HEARS_EVENTS)
        {
            return IoFuture::new(async move {
                below.report("flush_to_os").await;
                self.node().driver().flush_to_os(self).await?;
                if !self.node().flags().contains(NodeFlags::NO_FLUSH) {
                    below.report("flush_to_disk").await;
                }
                if self.reaches_disk() {
                    self.flush_host().await?;
                }
                self.flush_children().await
            });
        }
        let kept = self.node().driver().flush_to_os(self);
        let host = self.reaches_disk();
        match kept.into_ready() {
            Ok(Err(error)) => IoFuture::failed(error),
            Ok(Ok(())) if !host => self.flush_children(),
            Ok(Ok(())) => IoFuture::new(async move {
                self.flush_host().await?;
                self.flush_children().await
            }),
            Err(kept) => IoFuture::new(async move {
                kept.await?;
                if host {
                    self.flush_host().await?;
                }
                self.flush_children().await
            }),
        }
    }

    fn reaches_disk(self) -> bool {
        let node = self.node();
        node.capabilities().flushes_to_disk && !node.flags().contains(NodeFlags::NO_FLUSH)
    }

    /// One at a time, and only after writes. Whoever waited may find that the
    /// flush before has covered its writes too.
    async fn flush_host(self) -> Result<(), IoError> {
        let node = self.node();
        let _turn = node.flushes().enter(0..1, true).await;
        let written = node.written();
        if node.flushed() == written {
            return Ok(());
        }
        node.driver().flush_to_disk(self).await?;
        node.note_flushed(written);
        Ok(())
    }

    /// Flushes every child that this node writes to. All are tried; the first
    /// error is reported.
    ///
    /// # Errors
    /// As [`flush`](Request::flush).
    pub fn flush_children(self) -> IoFuture<'r> {
        let mut children = self.written_children();
        match (children.next(), children.next()) {
            (None, _) => IoFuture::done(),
            (Some(only), None) => only.flush(),
            (Some(_), Some(_)) => IoFuture::new(async move {
                let mut result = Ok(());
                for child in self.written_children() {
                    let flushed = child.flush().await;
                    result = result.and(flushed);
                }
                result
            }),
        }
    }
}
