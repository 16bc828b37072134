//! The bytes themselves, and who may still be using them.
//!
//! **Fenced module**, for the allocation. [`buffer`](super) has the rules.

use std::alloc::{self, Layout};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use block_common::sync::Mutex;

use crate::node::NodeUid;

/// Which way a transfer goes, seen from the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    In,
    Out,
}

pub(super) struct Memory {
    start: NonNull<u8>,
    layout: Layout,
    /// Length as the owner asked for it; the layout's is at least 1.
    len: usize,
    /// Transfers that may still write to the memory.
    incoming: AtomicU32,
    /// Transfers that may still read it.
    outgoing: AtomicU32,
    /// How many notes there are.
    noted: AtomicUsize,
    notes: Mutex<Notes>,
    /// Whether a driver has been told of the memory.
    is_registered: AtomicBool,
}

/// Transfers of shared ranges, and who knows of the memory.
#[derive(Default)]
struct Notes {
    last: Ticket,
    transfers: Vec<Note>,
    /// The nodes whose drivers have been told of the memory.
    registered_at: Vec<NodeUid>,
}

/// Names one noted transfer of a memory.
pub(super) type Ticket = u64;

struct Note {
    ticket: Ticket,
    way: Way,
    start: usize,
    len: usize,
}

// SAFETY: `Memory` is plain bytes with counters. Who may touch which byte when
// is the business of the types that hold it, see their comments.
unsafe impl Send for Memory {}
// SAFETY: as for `Send`.
unsafe impl Sync for Memory {}

impl Memory {
    pub(super) fn zeroed(len: usize, alignment: usize) -> Self {
        let layout = Layout::from_size_align(len.max(1), alignment)
            .expect("a buffer's alignment is a power of two and its size fits the address space");
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc::alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else {
            alloc::handle_alloc_error(layout)
        };
        Memory {
            start,
            layout,
            len,
            incoming: AtomicU32::new(0),
            outgoing: AtomicU32::new(0),
            noted: AtomicUsize::new(0),
            notes: Mutex::default(),
            is_registered: AtomicBool::new(false),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn alignment(&self) -> usize {
        self.layout.align()
    }

    /// The address of a byte, or of the end.
    pub(super) fn at(&self, offset: usize) -> *mut u8 {
        debug_assert!(offset <= self.len);
        // SAFETY: every range handed out lies within `len`, so the result is
        // within or one past the allocation.
        unsafe { self.start.as_ptr().add(offset) }
    }

    fn count(&self, way: Way) -> &AtomicU32 {
        match way {
            Way::In => &self.incoming,
            Way::Out => &self.outgoing,
        }
    }

    /// Counts a transfer.
    pub(super) fn begin(&self, way: Way) {
        self.count(way).fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a [`begin`](Memory::begin) back.
    pub(super) fn end(&self, way: Way) {
        // What the transfer did happens before whatever is done by who sees
        // that it has ended.
        self.count(way).fetch_sub(1, Ordering::Release);
    }

    /// Whether no transfer of that way is left.
    pub(super) fn is_free_of(&self, way: Way) -> bool {
        self.count(way).load(Ordering::Acquire) == 0
    }

    /// Notes that the driver of a node knows of the memory, or does no more.
    pub(super) fn set_registered(&self, node: NodeUid, registered: bool) {
        let mut notes = self.notes.lock();
        notes.registered_at.retain(|&known| known != node);
        if registered {
            notes.registered_at.push(node);
        }
        let any = !notes.registered_at.is_empty();
        self.is_registered.store(any, Ordering::Release);
    }

    /// Whether the driver of a node knows of the memory.
    pub(super) fn is_registered_at(&self, node: NodeUid) -> bool {
        self.is_registered.load(Ordering::Acquire)
            && self.notes.lock().registered_at.contains(&node)
    }

    /// Notes a transfer of a shared range.
    pub(super) fn note(&self, way: Way, start: usize, len: usize) -> Ticket {
        let mut notes = self.notes.lock();
        notes.last += 1;
        let ticket = notes.last;
        notes.transfers.push(Note {
            ticket,
            way,
            start,
            len,
        });
        self.noted.store(notes.transfers.len(), Ordering::Release);
        ticket
    }

    /// Takes a [`note`](Memory::note) back.
    pub(super) fn strike(&self, ticket: Ticket) {
        let mut notes = self.notes.lock();
        // The ranges of a vector are struck out last to first.
        let found = notes.transfers.iter().rposition(|n| n.ticket == ticket);
        if let Some(index) = found {
            notes.transfers.swap_remove(index);
        }
        self.noted.store(notes.transfers.len(), Ordering::Release);
    }

    /// Whether a noted transfer touches the range; only those of one way if
    /// `way` names one.
    pub(super) fn is_in_transfer(&self, way: Option<Way>, start: usize, len: usize) -> bool {
        // Whoever noted a transfer of a range happens before whoever gets that
        // range back, so a note that matters is seen here.
        if self.noted.load(Ordering::Acquire) == 0 {
            return false;
        }
        let notes = self.notes.lock();
        notes.transfers.iter().any(|note| {
            way.is_none_or(|way| way == note.way)
                && note.start < start + len
                && start < note.start + note.len
        })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `zeroed`, freed only here.
        unsafe { alloc::dealloc(self.start.as_ptr(), self.layout) }
    }
}
