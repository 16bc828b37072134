//! Requests: the proof that lets I/O code follow the graph.
//!
//! **Fenced module**, for one contract: I/O of the owner of a drained section
//! passes the gate that the section closed.

use std::sync::Arc;

use block_common::{IoError, Perm, limits};

use crate::engine::{Count, thread_shard};
use crate::{Children, Destination, IoEdge, IoFuture, IoNode, Source};

/// A counted request, seen from one node.
///
/// It proves that no drained section covering this node can complete before
/// `'r` ends. I/O functions are methods of it, so I/O without a counted
/// request does not compile. It is `Send`: a request may go from one thread
/// to another. It is two words and `Copy`: descending to a child makes
/// another one that lives no longer than the first.
///
/// One is made from an [`InFlight`](crate::InFlight) of a root, from an
/// [`Activity`] of a node, or by the owner of a drained section.
#[derive(Clone, Copy, Debug)]
pub struct Request<'r> {
    node: &'r IoNode,
    perm: Perm,
}

impl<'r> Request<'r> {
    /// Private to the crate: whoever calls it holds something counted above
    /// `node` for `'r`.
    pub(crate) fn through(edge: &'r IoEdge) -> Self {
        Request {
            node: edge.node(),
            perm: edge.perm(),
        }
    }

    /// The node this request is at.
    pub fn node(self) -> &'r IoNode {
        self.node
    }

    /// What the request may do to the node.
    pub fn perm(self) -> Perm {
        self.perm
    }

    /// Counts something at the node that may outlive this request, such as
    /// a transfer that goes on after its request was cancelled. Possible at
    /// any time, also on a quiesced node: the section that waits for this
    /// request has not completed, and will wait for the activity too.
    pub fn activity(self) -> Activity {
        Activity {
            count: Some(self.node.gate().begin_as_owner(thread_shard())),
            node: self.node.to_owned(),
        }
    }

    /// The edges below the node. They stay as they are while the request
    /// lasts.
    pub fn children(self) -> &'r Children {
        self.node.children_cell().get(self)
    }

    /// The same request at the child called `file`.
    ///
    /// # Errors
    /// [`IoError::NoChild`].
    pub fn file(self) -> Result<Request<'r>, IoError> {
        let edge = self.children().file().ok_or(IoError::NoChild("file"))?;
        Ok(Request::through(edge))
    }

    /// The same request at the backing image.
    ///
    /// # Errors
    /// [`IoError::NoChild`].
    pub fn backing(self) -> Result<Request<'r>, IoError> {
        let edge = self.children().backing();
        Ok(Request::through(edge.ok_or(IoError::NoChild("backing"))?))
    }

    /// The same request at the child called `name`.
    ///
    /// # Errors
    /// [`IoError::NoChild`].
    pub fn child(self, name: &'static str) -> Result<Request<'r>, IoError> {
        let edge = self.children().get(name).ok_or(IoError::NoChild(name))?;
        Ok(Request::through(edge))
    }

    /// Reads `into.len()` bytes at `offset` (`bdrv_co_pread`). What lies
    /// beyond the end of the node reads as zeroes.
    ///
    /// # Errors
    /// [`IoError::OutOfRange`] for an impossible offset or length, otherwise
    /// the driver's.
    pub fn read(self, offset: u64, into: Destination<'r>) -> IoFuture<'r, Result<(), IoError>> {
        let bytes = into.len() as u64;
        if let Err(error) = limits::check_data_request(offset, bytes) {
            return IoFuture::ready(Err(error));
        }
        if into.is_empty() {
            return IoFuture::ready(Ok(()));
        }
        let inside = self.node.length().saturating_sub(offset);
        if inside >= bytes {
            return self.node.driver().read(self, offset, into);
        }
        let (into, mut beyond) = into.split_at(inside as usize);
        beyond.fill(0);
        if into.is_empty() {
            return IoFuture::ready(Ok(()));
        }
        self.node.driver().read(self, offset, into)
    }

    /// Writes the bytes of `from` at `offset` (`bdrv_co_pwrite`). A node
    /// whose edge has [`Perm::RESIZE`] grows when the write ends beyond it.
    ///
    /// # Errors
    /// [`IoError::ReadOnly`], [`IoError::Permission`],
    /// [`IoError::OutOfRange`], otherwise the driver's.
    pub fn write(self, offset: u64, from: Source<'r>) -> IoFuture<'r, Result<(), IoError>> {
        let end = match self.check_write(offset, from.len() as u64) {
            Ok(end) => end,
            Err(error) => return IoFuture::ready(Err(error)),
        };
        // Also because nothing would make the node longer.
        if from.is_empty() {
            return IoFuture::ready(Ok(()));
        }
        let written = self.node.driver().write(self, offset, from);
        if end <= self.node.length() {
            return written;
        }
        IoFuture::new(async move {
            written.await?;
            self.node.grow_to(end);
            Ok(())
        })
    }

    /// The end of the write, if it is one that this request may do.
    fn check_write(self, offset: u64, bytes: u64) -> Result<u64, IoError> {
        limits::check_data_request(offset, bytes)?;
        if !self.node.is_writable() {
            return Err(IoError::ReadOnly);
        }
        if !self.perm.intersects(Perm::WRITES) {
            return Err(IoError::Permission(Perm::WRITE));
        }
        let end = offset + bytes;
        if end > self.node.length() && !self.perm.contains(Perm::RESIZE) {
            return Err(IoError::Permission(Perm::RESIZE));
        }
        Ok(end)
    }

    /// Makes earlier writes durable, in this node and below
    /// (`bdrv_co_flush`). Nothing on a node that is read-only.
    ///
    /// # Errors
    /// Earlier writes may be lost in a crash.
    pub fn flush(self) -> IoFuture<'r, Result<(), IoError>> {
        if !self.node.is_writable() {
            return IoFuture::ready(Ok(()));
        }
        self.node.driver().flush(self)
    }

    /// Flushes every child that this node writes to: for the `flush` of a
    /// driver. All are tried; the first error is reported.
    ///
    /// # Errors
    /// As [`flush`](Request::flush).
    pub fn flush_children(self) -> IoFuture<'r, Result<(), IoError>> {
        let written = move || {
            let edges = self.children().iter();
            edges.filter(|edge| edge.perm().intersects(Perm::WRITES))
        };
        let mut children = written();
        match (children.next(), children.next()) {
            (None, _) => IoFuture::ready(Ok(())),
            (Some(only), None) => Request::through(only).flush(),
            (Some(_), Some(_)) => IoFuture::new(async move {
                let mut result = Ok(());
                for edge in written() {
                    let flushed = Request::through(edge).flush().await;
                    result = result.and(flushed);
                }
                result
            }),
        }
    }

    /// Asks the driver for the length in bytes and notes it
    /// (`bdrv_co_refresh_total_sectors`). [`IoNode::length`] has the noted
    /// one.
    ///
    /// # Errors
    /// The driver's.
    pub fn refresh_length(self) -> IoFuture<'r, Result<u64, IoError>> {
        match self.node.driver().length(self).into_ready() {
            Ok(length) => {
                if let Ok(bytes) = length {
                    self.node.set_length(bytes);
                }
                IoFuture::ready(length)
            }
            Err(running) => IoFuture::new(async move {
                let bytes = running.await?;
                self.node.set_length(bytes);
                Ok(bytes)
            }),
        }
    }
}

/// Something a node does on its own account, counted at the node: a driver's
/// background work, or I/O of the owner of a drained section
/// (`bdrv_inc_in_flight`).
#[derive(Debug)]
pub struct Activity {
    node: Arc<IoNode>,
    count: Option<Count>,
}

impl Activity {
    /// Begins one, waiting while the node is quiesced.
    pub async fn begin(node: Arc<IoNode>) -> Activity {
        let count = node.gate().begin(thread_shard()).await;
        Activity {
            node,
            count: Some(count),
        }
    }

    /// Begins one unless the node is quiesced.
    pub fn try_begin(node: &Arc<IoNode>) -> Option<Activity> {
        let count = node.gate().try_begin(thread_shard())?;
        Some(Activity {
            node: Arc::clone(node),
            count: Some(count),
        })
    }

    /// Begins one inside a drained section, for its owner; `block-gs` offers
    /// it as `Drained::io`.
    ///
    /// # Safety
    /// The caller owns the innermost drained section that covers the node,
    /// and neither writes the graph nor ends the section before the activity
    /// is dropped. (A section that somebody else opens meanwhile waits for it
    /// like for any request.)
    pub unsafe fn begin_as_owner(node: Arc<IoNode>) -> Activity {
        let count = node.gate().begin_as_owner(thread_shard());
        Activity {
            node,
            count: Some(count),
        }
    }

    /// The proof, at the node. It may do to its own node whatever the node is
    /// open for.
    pub fn request(&self) -> Request<'_> {
        Request {
            node: &self.node,
            perm: Perm::all(),
        }
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        if let Some(count) = self.count.take() {
            self.node.gate().end(count);
        }
    }
}
