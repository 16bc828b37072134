//! The block layer without its proofs: the same data, reached by whoever has
//! a reference to it.
//!
//! What is out of line in `block-io`, seen from here, is out of line here, so
//! that a difference is one of proofs and not of inlining.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use block_io::{BlockLimits, Destination, IoError, IoFuture, NodeFlags, Perm};
use slotmap::{DefaultKey, SlotMap};

/// As `block_io::Request`: the node and what may be done to it, without
/// saying that anything is counted.
#[derive(Clone, Copy, Debug)]
pub struct PlainRequest<'r> {
    /// Where it is.
    pub node: &'r PlainNode,
    /// What it may do.
    pub perm: Perm,
    /// Whether it may give space back.
    pub may_unmap: bool,
}

/// As `block_io::DriverIo`.
pub trait PlainDriver: Send + Sync {
    /// As `DriverIo::read`.
    fn read<'r>(
        &'r self,
        request: PlainRequest<'r>,
        offset: u64,
        into: Destination<'r>,
    ) -> IoFuture<'r>;
}

/// As `block_io::IoNode`, as far as a read needs it.
pub struct PlainNode {
    driver: Arc<dyn PlainDriver>,
    file: Option<Arc<PlainEdge>>,
    limits: BlockLimits,
    flags: AtomicU32,
    length: AtomicU64,
    serialising: AtomicU32,
}

impl std::fmt::Debug for PlainNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PlainNode")
    }
}

/// As `block_io::IoEdge`.
#[derive(Debug)]
pub struct PlainEdge {
    target: Arc<PlainNode>,
    rights: AtomicU8,
}

const KEEPS_SPACE: u8 = 0x80;

impl PlainNode {
    /// A node of `length` bytes, above `file` if there is one.
    pub fn new(driver: Arc<dyn PlainDriver>, length: u64, file: Option<Arc<PlainNode>>) -> Self {
        let edge = |target| {
            Arc::new(PlainEdge {
                target,
                rights: AtomicU8::new(Perm::all().bits()),
            })
        };
        PlainNode {
            driver,
            file: file.map(edge),
            limits: BlockLimits::default(),
            flags: AtomicU32::new(0),
            length: AtomicU64::new(length),
            serialising: AtomicU32::new(0),
        }
    }

    fn flags(&self) -> NodeFlags {
        NodeFlags::from_bits_truncate(self.flags.load(Ordering::Relaxed))
    }

    fn has_plain_reads(&self) -> bool {
        !self.flags().contains(NodeFlags::TRACKED) && self.serialising.load(Ordering::Acquire) == 0
    }
}

impl<'r> PlainRequest<'r> {
    /// As `Request::children`.
    #[inline]
    pub fn children(self) -> &'r PlainNode {
        self.node
    }

    /// As `Request::through`.
    #[inline]
    pub fn through(edge: &'r PlainEdge) -> Self {
        let rights = || edge.rights.load(Ordering::Relaxed);
        PlainRequest {
            node: &edge.target,
            perm: Perm::from_bits_truncate(rights()),
            may_unmap: rights() & KEEPS_SPACE == 0,
        }
    }

    /// As `Request::file`.
    ///
    /// # Errors
    /// [`IoError::NoChild`].
    #[inline]
    pub fn file(self) -> Result<Self, IoError> {
        let Some(edge) = self.children().file.as_deref() else {
            return Err(IoError::NoChild("file"));
        };
        Ok(PlainRequest::through(edge))
    }

    /// As `Request::read`, for requests that need no care.
    ///
    /// # Errors
    /// [`IoError::NotSupported`] for those that do.
    #[inline(never)]
    pub fn read(self, offset: u64, into: Destination<'r>) -> IoFuture<'r> {
        let node = self.node;
        let bytes = into.len() as u64;
        let bounds = &node.limits;
        let unaligned = (offset | bytes) & u64::from(bounds.request_alignment - 1);
        let inside = bytes.wrapping_sub(1) < bounds.max_transfer
            && offset
                .checked_add(bytes)
                .is_some_and(|end| end <= node.length.load(Ordering::Acquire));
        if inside
            && unaligned == 0
            && node.has_plain_reads()
            && into.segment_count() <= bounds.max_segments
        {
            return node.driver.read(self, offset, into);
        }
        refused()
    }
}

#[cold]
#[inline(never)]
fn refused<'r>() -> IoFuture<'r> {
    IoFuture::failed(IoError::NotSupported)
}

/// As `block_gs`'s graph, as far as a look at a node needs it.
#[derive(Debug)]
pub struct PlainGraph {
    /// The nodes.
    pub nodes: SlotMap<DefaultKey, PlainState>,
}

/// As what the graph knows of a node.
#[derive(Debug)]
pub struct PlainState {
    /// Fills the place of what is not looked at.
    pub others: [u64; 30],
    /// As `bs->quiesce_counter`.
    pub quiesce: u32,
}

/// As `block_gs::Drained`: a section that proves nothing.
#[derive(Debug)]
pub struct PlainSection {
    /// How often somebody asked.
    pub asked: u64,
}
