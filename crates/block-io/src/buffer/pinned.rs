//! Memory that drivers have been told of.
//!
//! QEMU's requests say in a flag that their memory is registered
//! (`BDRV_REQ_REGISTERED_BUF`), and whoever replaces it has to take the flag
//! away. Here the memory itself knows which nodes have been told of it, so
//! there is nothing to take away: other memory is not registered.

use std::fmt;
use std::sync::Arc;

use super::memory::Memory;
use super::view::View;
use super::{Buffer, Destination, Source};
use crate::GsAccess;
use crate::node::{IoNode, NodeUid};

/// The memory of a [`Buffer`], kept although the buffer may go. It shows no
/// bytes.
#[derive(Clone)]
pub struct PinnedMemory(Arc<Memory>);

impl fmt::Debug for PinnedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PinnedMemory({} bytes)", self.len())
    }
}

/// Two are equal if they are the same memory.
impl PartialEq for PinnedMemory {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for PinnedMemory {}

impl PinnedMemory {
    /// Where it begins, in this process. It stays there.
    pub fn address(&self) -> usize {
        self.0.at(0) as usize
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the length is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the driver of `node` has been told of all of it.
    pub fn is_registered_at(&self, node: &IoNode) -> bool {
        self.0.is_registered_at(node.uid())
    }

    /// Notes that the driver of a node has been told of it, or
    /// has been told to forget it. `block-gs` does the telling.
    pub fn set_registered(&self, _gs: &GsAccess, node: NodeUid, registered: bool) {
        self.0.set_registered(node, registered);
    }
}

impl Buffer {
    /// The memory that the buffer has now. [`reclaim`](Buffer::reclaim) may
    /// give the buffer another one.
    pub fn pinned(&self) -> PinnedMemory {
        PinnedMemory(Arc::clone(self.memory()))
    }
}

impl Destination<'_> {
    /// Whether the driver of `node` has been told of all the memory
    /// (`BDRV_REQ_REGISTERED_BUF`). It stays so for as long as the request
    /// lasts that this came with.
    pub fn is_registered_at(&self, node: &IoNode) -> bool {
        self.view().is_registered_at(node.uid())
    }
}

impl Source<'_> {
    /// As [`Destination::is_registered_at`].
    pub fn is_registered_at(self, node: &IoNode) -> bool {
        self.view().is_registered_at(node.uid())
    }
}

impl View<'_> {
    fn is_registered_at(self, node: NodeUid) -> bool {
        self.len() > 0 && self.parts().all(|part| part.memory.is_registered_at(node))
    }
}

#[cfg(all(test, not(block_loom)))]
mod tests {
    use super::*;
    use crate::SourceVec;
    use crate::node::tests::null_node;

    #[test]
    fn memory_is_registered_where_it_was_and_with_nothing_else_beside_it() {
        let (here, there) = (null_node("here"), null_node("there"));
        let mut buffer = Buffer::zeroed(4096);
        let other = Buffer::zeroed(512);
        let memory = buffer.pinned();
        assert!(!buffer.source().is_registered_at(&here));
        memory.0.set_registered(here.uid(), true);
        assert!(buffer.source().is_registered_at(&here));
        assert!(!buffer.source().is_registered_at(&there));
        let (front, _) = buffer.source().split_at(512);
        assert!(front.is_registered_at(&here), "a part of it");
        let mut both = SourceVec::new();
        both.push(front);
        both.push(other.source());
        assert!(!both.source().is_registered_at(&here), "padded");
        let (registered, _) = both.source().split_at(512);
        assert!(registered.is_registered_at(&here));
        assert!(buffer.destination().is_registered_at(&here));
        memory.0.set_registered(here.uid(), false);
        assert!(!buffer.destination().is_registered_at(&here));
    }

    #[test]
    fn a_buffer_that_gave_its_memory_to_the_kernel_is_not_registered() {
        let node = null_node("node");
        let mut buffer = Buffer::zeroed(4096);
        let memory = buffer.pinned();
        memory.0.set_registered(node.uid(), true);
        let transfer = buffer.destination().transfer_all();
        assert!(buffer.reclaim());
        assert!(!buffer.source().is_registered_at(&node));
        assert!(memory.is_registered_at(&node), "the old memory is");
        assert_ne!(buffer.pinned(), memory);
        drop(transfer);
    }
}
