//! Requests: the proof that lets I/O code follow the graph.
//!
//! **Fenced module**, for one contract: I/O of the owner of a drained section
//! passes the gate that the section closed.

use std::sync::Arc;

use block_common::{BlockLimits, IoError, Perm};

use crate::engine::{Count, thread_shard};
use crate::node::NodeFlags;
use crate::{Children, IoEdge, IoNode};

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
    may_unmap: bool,
}

impl<'r> Request<'r> {
    /// The request that follows `edge`, to the node it leads to.
    ///
    /// # Safety
    /// For `'r` something is counted above the parent of `edge`.
    #[inline]
    pub(crate) unsafe fn through(edge: &'r IoEdge) -> Self {
        Request {
            // SAFETY: the contract is passed on.
            node: unsafe { edge.follow() },
            perm: edge.perm(),
            may_unmap: edge.may_unmap(),
        }
    }

    /// The node this request is at. Nodes that only pass requests through
    /// are skipped on the way, see [`Capabilities`](crate::Capabilities).
    #[inline]
    pub fn node(self) -> &'r IoNode {
        self.node
    }

    /// Whether a zero write or discard may give space back: the node and
    /// those that the request has skipped allow it (`BDRV_O_UNMAP`).
    pub fn may_unmap(self) -> bool {
        self.may_unmap && self.node.flags().contains(NodeFlags::UNMAP)
    }

    /// What the request may do to the node.
    #[inline]
    pub fn perm(self) -> Perm {
        self.perm
    }

    /// Counts something at the node that may outlive this request, such as
    /// a transfer that goes on after its request was cancelled. Possible at
    /// any time, also on a quiesced node: the section that waits for this
    /// request has not completed, and will wait for the activity too. A
    /// section whose owner's request this is waits before it next writes the
    /// graph.
    pub fn activity(self) -> Activity {
        Activity {
            count: Some(self.node.gate().begin_as_owner(thread_shard())),
            node: self.node.to_owned(),
        }
    }

    /// The edges below the node. They stay as they are while the request
    /// lasts.
    #[inline]
    pub fn children(self) -> &'r Children {
        // SAFETY: the cell is a field of the request's own node, and was made
        // with that node's identity.
        unsafe { self.node.children_cell().get_of_own_node(self) }
    }

    /// The node's limits. They stay as they are while the request lasts.
    #[inline]
    pub fn limits(self) -> &'r BlockLimits {
        // SAFETY: as in `children`.
        unsafe { self.node.limits_cell().get_of_own_node(self) }
    }

    /// The same request at the other end of an edge below the node.
    #[inline]
    fn descend(self, edge: Option<&'r IoEdge>, name: &'static str) -> Result<Self, IoError> {
        // Not `ok_or`: an error that was made has to be dropped again.
        let Some(edge) = edge else {
            return Err(IoError::NoChild(name));
        };
        // SAFETY: the edge is one of this request's node (private function,
        // called below only), and the request is counted above that node
        // for `'r`.
        Ok(unsafe { Request::through(edge) })
    }

    /// The same request at the child called `file`.
    ///
    /// # Errors
    /// [`IoError::NoChild`].
    #[inline]
    pub fn file(self) -> Result<Request<'r>, IoError> {
        self.descend(self.children().file(), "file")
    }

    /// The same request at the backing image.
    ///
    /// # Errors
    /// [`IoError::NoChild`].
    #[inline]
    pub fn backing(self) -> Result<Request<'r>, IoError> {
        self.descend(self.children().backing(), "backing")
    }

    /// The same request at the child called `name`.
    ///
    /// # Errors
    /// [`IoError::NoChild`].
    pub fn child(self, name: &'static str) -> Result<Request<'r>, IoError> {
        self.descend(self.children().get(name), name)
    }

    /// The same request at the node that this one, a filter, shows
    /// (`bdrv_filter_child`). `None` for what is no filter.
    pub fn filtered(self) -> Option<Request<'r>> {
        if !self.node.capabilities().filter {
            return None;
        }
        let children = self.children();
        let edge = children.file().or(children.backing());
        self.descend(edge, "file").ok()
    }

    /// The same request at the backing image (`bdrv_cow_child`). `None`
    /// without one, and for filters.
    pub fn cow(self) -> Option<Request<'r>> {
        if self.node.capabilities().filter {
            return None;
        }
        self.backing().ok()
    }

    /// The same request at the child that the node stands on
    /// (`bdrv_primary_child`): `file`, or what a filter shows.
    pub fn primary(self) -> Option<Request<'r>> {
        self.file().ok().or_else(|| self.filtered())
    }

    /// The same request at each child that holds something of this node:
    /// every one but the backing image.
    pub(crate) fn holders(self) -> impl Iterator<Item = Request<'r>> {
        let is_filter = self.node.capabilities().filter;
        let edges = self.children().iter();
        let held = edges.filter(move |edge| is_filter || edge.name() != "backing");
        // SAFETY: as in `descend`.
        held.map(|edge| unsafe { Request::through(edge) })
    }

    /// The same request at each child.
    pub(crate) fn all_children(self) -> impl Iterator<Item = Request<'r>> {
        let edges = self.children().iter();
        // SAFETY: as in `descend`.
        edges.map(|edge| unsafe { Request::through(edge) })
    }

    /// The same request where the contents are that this node does not have:
    /// at the backing image, or at the child of a filter. `None` where the
    /// chain ends, or where the way leads to `base`, or past it because
    /// requests skip it.
    pub(crate) fn next_in_chain(self, base: Option<&IoNode>) -> Option<Request<'r>> {
        let children = self.children();
        let file = children.file().filter(|_| self.node.capabilities().filter);
        let edge = children.backing().or(file)?;
        let below = self.descend(Some(edge), "backing").ok()?;
        let Some(base) = base else {
            return Some(below);
        };
        // A node that is skipped on the way is above the one that is reached,
        // and the request is counted above both.
        let mut passed = Request {
            node: edge.node(),
            ..below
        };
        loop {
            if passed.node.uid() == base.uid() {
                return None;
            }
            if passed.node.uid() == below.node.uid() {
                return Some(below);
            }
            match passed.children().file() {
                Some(edge) => passed.node = edge.node(),
                None => return Some(below),
            }
        }
    }

    /// The same request at every child that this node writes to.
    pub(crate) fn written_children(self) -> impl Iterator<Item = Request<'r>> {
        let edges = self.children().iter();
        let written = edges.filter(|edge| edge.perm().intersects(Perm::WRITES));
        // SAFETY: as in `descend`.
        written.map(|edge| unsafe { Request::through(edge) })
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

    /// Ends it with `tail`, for which drained sections wait too. Unless it has
    /// ended.
    pub(crate) fn end_after(&mut self, tail: impl FnOnce(&IoNode)) {
        if let Some(count) = self.count.take() {
            let node = &self.node;
            node.gate().end_after(count, || tail(node));
        }
    }

    /// The proof, at the node. It may do to its own node whatever the node is
    /// open for.
    pub fn request(&self) -> Request<'_> {
        Request {
            node: &self.node,
            perm: Perm::all(),
            may_unmap: true,
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

#[cfg(all(test, not(block_loom)))]
mod tests {
    use super::*;

    // What a request carries is what it would have to carry anyway; that it is
    // counted takes no room.
    static_assertions::const_assert_eq!(
        size_of::<Request<'static>>(),
        size_of::<(&'static IoNode, Perm, bool)>()
    );
    static_assertions::const_assert_eq!(
        size_of::<Activity>(),
        size_of::<(Arc<IoNode>, Option<Count>)>()
    );
}
