//! Data of a node that requests read and only a drained section replaces.
//!
//! **Fenced module.** The proof is the [`Request`]: while one exists for a
//! node, no `Drained` of that node does, because a drained section waits for
//! every request above its node and lets none begin.

use block_common::BlockLimits;
use block_common::sync::UnsafeCell;

use crate::{Children, IoNode, NodeUid, Request};

/// A value that belongs to one node. Reading takes a [`Request`] of that
/// node and costs a comparison; writing takes a drained section of it
/// (`Drained::set` of `block-gs`).
///
/// For the part of a driver that a reopen or a graph change may replace:
/// an offset, a file descriptor, a table.
#[derive(Debug)]
pub struct GraphCell<T> {
    owner: NodeUid,
    value: UnsafeCell<T>,
}

// SAFETY: `get` hands out `&T` to any thread that has a request (`T: Sync`);
// `replace` moves values across threads (`T: Send`) and excludes readers by
// its contract.
unsafe impl<T: Send + Sync> Sync for GraphCell<T> {}

impl<T> GraphCell<T> {
    /// A cell of the node `owner`.
    pub fn new(owner: NodeUid, value: T) -> Self {
        GraphCell {
            owner,
            value: UnsafeCell::new(value),
        }
    }

    /// Whose cell this is.
    pub fn owner(&self) -> NodeUid {
        self.owner
    }

    /// The value, for as long as the request lasts.
    ///
    /// # Panics
    /// When the request is for another node: its drained sections say nothing
    /// about this cell.
    #[inline]
    pub fn get<'r>(&'r self, request: Request<'r>) -> &'r T {
        assert!(
            request.node().uid() == self.owner,
            "a GraphCell is read with a request of the node it belongs to; this request is for \
             node '{}'",
            request.node().name()
        );
        // SAFETY: `request` is counted above `owner` until `'r` ends, so no
        // drained section of `owner` exists, and `replace_in_drained_section` demands one.
        unsafe { &*self.value.get_shared() }
    }

    /// As [`get`](GraphCell::get), without looking whose cell it is.
    ///
    /// # Safety
    /// The cell belongs to the node of the request.
    #[inline]
    pub(crate) unsafe fn get_of_own_node<'r>(&'r self, request: Request<'r>) -> &'r T {
        debug_assert!(request.node().uid() == self.owner);
        // SAFETY: as in `get`; the caller promises what is looked at there.
        unsafe { &*self.value.get_shared() }
    }

    /// Replaces the value.
    ///
    /// # Safety
    /// The caller holds a drained section of `owner` that has no request of
    /// its own in flight, and no other thread calls this.
    pub unsafe fn replace_in_drained_section(&self, value: T) -> T {
        // SAFETY: by the contract no request for `owner` exists, hence no
        // `&T` from `get`, and we are the only writer.
        std::mem::replace(unsafe { &mut *self.value.get_exclusive() }, value)
    }
}

impl IoNode {
    /// Replaces what requests see below this node.
    ///
    /// # Safety
    /// As [`GraphCell::replace_in_drained_section`], for this node.
    pub unsafe fn replace_children_in_drained_section(&self, children: Children) -> Children {
        // SAFETY: the contract is passed on.
        unsafe { self.children_cell().replace_in_drained_section(children) }
    }

    /// Replaces what requests know of this node's needs.
    ///
    /// # Safety
    /// As [`GraphCell::replace_in_drained_section`], for this node.
    pub unsafe fn replace_limits_in_drained_section(&self, limits: BlockLimits) {
        // SAFETY: the contract is passed on.
        unsafe { self.limits_cell().replace_in_drained_section(limits) };
    }
}

#[cfg(all(test, not(block_loom)))]
mod tests {
    use super::*;
    use crate::Activity;
    use crate::node::tests::null_node;

    // One word for the check that the types leave.
    static_assertions::const_assert_eq!(size_of::<GraphCell<u64>>(), size_of::<(NodeUid, u64)>());

    #[test]
    #[should_panic(expected = "of the node it belongs to")]
    fn a_request_of_another_node_opens_nothing() {
        let (mine, other) = (null_node("mine"), null_node("other"));
        let cell = GraphCell::new(mine.uid(), 1);
        let activity = Activity::try_begin(&other).expect("open");
        let _ = cell.get(activity.request());
    }

    #[test]
    fn a_request_of_the_node_reads_it() {
        let node = null_node("mine");
        let cell = GraphCell::new(node.uid(), 1);
        let activity = Activity::try_begin(&node).expect("open");
        assert_eq!(*cell.get(activity.request()), 1);
    }
}
