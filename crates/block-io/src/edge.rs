//! Edges as requests see them, and the paths that requests take.
//!
//! **Fenced module.** The proof is the counted request: whoever follows an
//! edge holds something counted above its parent, and where the edge leads
//! to is written in a drained section of that parent only.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use block_common::Perm;
use block_common::sync::UnsafeCell;
use smallvec::SmallVec;

use crate::{GsAccess, IoNode};

/// An edge as requests see it: which node, with which permissions
/// (`BdrvChild`).
///
/// Requests follow the edge to its [target](IoEdge::set_target_in_drained_section),
/// which is the node itself, or the first one below that wants to see
/// requests if the node [passes them through](crate::Capabilities). So a layer
/// that only forwards costs nothing, however many there are.
#[derive(Debug)]
pub struct IoEdge {
    name: String,
    node: Arc<IoNode>,
    target: UnsafeCell<Arc<IoNode>>,
    /// A [`Perm`], and [`KEEPS_SPACE`].
    rights: AtomicU8,
}

/// Beside the permissions: a node that the path skips does not give space
/// back.
const KEEPS_SPACE: u8 = 0x80;

// SAFETY: `follow` hands out `&IoNode` to any thread that holds something
// counted above the parent; the target is replaced in a drained section of
// the parent only, which excludes those. `IoNode` is `Send + Sync`.
unsafe impl Sync for IoEdge {}

impl IoEdge {
    /// An edge called `name` to `node`.
    pub fn new(name: &str, node: Arc<IoNode>, perm: Perm) -> Arc<Self> {
        Arc::new(IoEdge {
            name: name.to_owned(),
            target: UnsafeCell::new(Arc::clone(&node)),
            node,
            rights: AtomicU8::new(perm.bits()),
        })
    }

    /// The name: `file`, `backing`, `root`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node below.
    pub fn node(&self) -> &Arc<IoNode> {
        &self.node
    }

    /// What requests through this edge may do.
    #[inline]
    pub fn perm(&self) -> Perm {
        Perm::from_bits_truncate(self.rights.load(Ordering::Relaxed))
    }

    /// Whether nothing on the path keeps requests from giving space back.
    #[inline]
    pub(crate) fn may_unmap(&self) -> bool {
        self.rights.load(Ordering::Relaxed) & KEEPS_SPACE == 0
    }

    /// Notes what the permission system granted. Requests in flight keep what
    /// they had.
    pub fn set_perm(&self, _gs: &GsAccess, perm: Perm) {
        let kept = self.rights.load(Ordering::Relaxed) & KEEPS_SPACE;
        self.rights.store(perm.bits() | kept, Ordering::Relaxed);
    }

    /// The node that requests reach through this edge.
    ///
    /// # Safety
    /// For as long as the result is borrowed, something is counted above the
    /// parent of this edge.
    #[inline]
    pub(crate) unsafe fn follow(&self) -> &IoNode {
        // SAFETY: something is counted, so no drained section of the parent
        // exists, and the target is replaced in one only.
        unsafe { &*self.target.get_shared() }
    }

    /// Sets the node that requests reach, and whether all nodes they skip
    /// give space back.
    ///
    /// # Safety
    /// As [`GraphCell::replace_in_drained_section`](crate::GraphCell), for the
    /// parent of the edge; or the edge is new and no request can have seen
    /// it.
    pub unsafe fn set_target_in_drained_section(
        &self,
        _gs: &GsAccess,
        target: Arc<IoNode>,
        may_unmap: bool,
    ) {
        let perm = self.perm().bits();
        let kept = if may_unmap { 0 } else { KEEPS_SPACE };
        self.rights.store(perm | kept, Ordering::Relaxed);
        // SAFETY: by the contract nobody follows the edge now, and we are the
        // only writer.
        let before = std::mem::replace(unsafe { &mut *self.target.get_exclusive() }, target);
        drop(before);
    }

    /// Where requests go that follow this edge, and whether they may give
    /// space back on the way.
    ///
    /// # Safety
    /// The caller is the only one who may write the graph.
    pub unsafe fn path(&self, _gs: &GsAccess) -> (Arc<IoNode>, bool) {
        // SAFETY: only the caller replaces the target, and it is here.
        let target = unsafe { &*self.target.get_shared() };
        (Arc::clone(target), self.may_unmap())
    }
}

/// The edges below a node.
#[derive(Clone, Debug, Default)]
pub struct Children {
    file: Option<Arc<IoEdge>>,
    backing: Option<Arc<IoEdge>>,
    others: SmallVec<[Arc<IoEdge>; 2]>,
}

impl Children {
    /// Sorts the edges by name. `image` is what `blkdebug` calls its file.
    pub fn new(edges: impl IntoIterator<Item = Arc<IoEdge>>) -> Self {
        let mut children = Children::default();
        for edge in edges {
            match edge.name() {
                "file" | "image" => children.file = Some(edge),
                "backing" => children.backing = Some(edge),
                _ => children.others.push(edge),
            }
        }
        children
    }

    /// The edge called `file`.
    pub fn file(&self) -> Option<&IoEdge> {
        self.file.as_deref()
    }

    /// The edge called `backing`.
    pub fn backing(&self) -> Option<&IoEdge> {
        self.backing.as_deref()
    }

    /// The edge called `name`.
    pub fn get(&self, name: &str) -> Option<&IoEdge> {
        self.iter().find(|edge| edge.name() == name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &IoEdge> {
        let named = self.file.iter().chain(self.backing.iter());
        named.chain(self.others.iter()).map(|edge| &**edge)
    }
}

#[cfg(all(test, not(block_loom)))]
mod tests {
    use super::*;
    use crate::node::tests::null_node;

    #[test]
    fn children_are_found_by_name() {
        let edge = |name: &str| IoEdge::new(name, null_node(name), Perm::empty());
        let children = Children::new([edge("x"), edge("backing"), edge("file")]);
        assert_eq!(children.file().expect("file").node().name(), "file");
        assert_eq!(children.get("x").expect("x").node().name(), "x");
        assert!(children.get("y").is_none());
        let order: Vec<_> = children.iter().map(IoEdge::name).collect();
        assert_eq!(order, ["file", "backing", "x"]);
    }
}
