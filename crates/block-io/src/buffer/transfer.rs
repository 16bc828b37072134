//! What the kernel, or a worker thread, holds of memory.
//!
//! **Fenced module**, for showing counted ranges as slices and for sending
//! their addresses to a worker thread. [`buffer`](super) has the rules.

use std::ffi::c_void;
use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

use super::memory::{Memory, Ticket, Way};
use super::view::{Part, View};

/// A counted range.
struct Share {
    memory: Arc<Memory>,
    start: usize,
    len: usize,
    /// Set if the transfer is noted.
    ticket: Option<Ticket>,
}

impl Share {
    fn begin(way: Way, part: Part<'_>) -> Share {
        part.memory.begin(way);
        Share {
            memory: Arc::clone(part.memory),
            start: part.start,
            len: part.len,
            ticket: part
                .shared
                .then(|| part.memory.note(way, part.start, part.len)),
        }
    }

    fn end(&self, way: Way) {
        if let Some(ticket) = self.ticket {
            self.memory.strike(ticket);
        }
        self.memory.end(way);
    }

    fn address(&self) -> *mut u8 {
        self.memory.at(self.start)
    }
}

/// `struct iovec`.
#[repr(C)]
pub(crate) struct IoVec {
    start: *mut c_void,
    len: usize,
}

// SAFETY: an address and a length. It sits beside the shares that keep what it
// points to alive, and is for the kernel alone.
unsafe impl Send for IoVec {}
// SAFETY: as for `Send`.
unsafe impl Sync for IoVec {}

enum Shares {
    One(Share),
    /// With the array that the kernel reads. Both lie in memory of their own,
    /// so moving the transfer moves nothing that the kernel sees.
    Many(Box<[Share]>, Box<[IoVec]>),
}

impl Shares {
    fn begin(way: Way, view: View<'_>) -> Shares {
        if let Some(part) = view.only_part() {
            return Shares::One(Share::begin(way, part));
        }
        let shares: Box<[Share]> = view.parts().map(|part| Share::begin(way, part)).collect();
        let vectors = shares.iter().map(|share| IoVec {
            start: share.address().cast(),
            len: share.len,
        });
        let vectors = vectors.collect();
        Shares::Many(shares, vectors)
    }

    fn each(&self) -> &[Share] {
        match self {
            Shares::One(share) => std::slice::from_ref(share),
            Shares::Many(shares, _) => shares,
        }
    }

    fn len(&self) -> usize {
        self.each().iter().map(|share| share.len).sum()
    }

    fn place(&self) -> Place {
        match self {
            Shares::One(share) => Place::One(share.address(), share.len),
            Shares::Many(_, vectors) => Place::Many(vectors.as_ptr(), vectors.len()),
        }
    }

    fn end(&self, way: Way) {
        self.each().iter().rev().for_each(|share| share.end(way));
    }
}

/// Where the memory of a transfer lies, for the kernel. The addresses, that of
/// the array included, stay valid for as long as the transfer exists, wherever
/// that is moved.
pub(crate) enum Place {
    /// Address and length.
    One(*mut u8, usize),
    /// Array of ranges and its length.
    Many(*const IoVec, usize),
}

/// Memory into which the kernel, or a worker thread, puts data.
///
/// Owns a share of the memory: it stays allocated, and out of everybody
/// else's reach, until this value is dropped.
pub struct TransferIn {
    shares: Shares,
}

impl TransferIn {
    /// The caller keeps what the view is of away from everybody else.
    pub(super) fn of(view: View<'_>) -> Self {
        TransferIn {
            shares: Shares::begin(Way::In, view),
        }
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        self.shares.len()
    }

    /// Whether the length is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What to hand to the kernel.
    pub(crate) fn place(&mut self) -> Place {
        self.shares.place()
    }

    /// The ranges one after the other, for a worker thread.
    pub fn segments_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.shares.each().iter().map(|share| {
            // SAFETY: in bounds. While an incoming transfer is counted,
            // buffers refuse access; its `Destination` is locked away or
            // gone; and whoever lent that finds the note. The ranges do not
            // overlap, and the slices borrow `self` exclusively.
            unsafe { std::slice::from_raw_parts_mut(share.address(), share.len) }
        })
    }

    /// The ranges as system calls take them.
    pub(crate) fn io_slices(&mut self) -> Vec<IoSliceMut<'_>> {
        self.segments_mut().map(IoSliceMut::new).collect()
    }
}

#[cfg(test)]
impl TransferIn {
    pub(crate) fn fill(&mut self, byte: u8) {
        self.segments_mut().for_each(|segment| segment.fill(byte));
    }
}

impl Drop for TransferIn {
    fn drop(&mut self) {
        self.shares.end(Way::In);
    }
}

/// Memory from which the kernel, or a worker thread, takes data.
pub struct TransferOut {
    shares: Shares,
}

impl TransferOut {
    pub(super) fn of(view: View<'_>) -> Self {
        TransferOut {
            shares: Shares::begin(Way::Out, view),
        }
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        self.shares.len()
    }

    /// Whether the length is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What to hand to the kernel, which only reads there.
    pub(crate) fn place(&self) -> Place {
        self.shares.place()
    }

    /// The ranges one after the other, for a worker thread.
    pub fn segments(&self) -> impl Iterator<Item = &[u8]> {
        self.shares.each().iter().map(|share| {
            // SAFETY: in bounds. While an outgoing transfer is counted,
            // buffers refuse to be written; and whoever lent a `Destination`
            // as its source finds the note.
            unsafe { std::slice::from_raw_parts(share.address(), share.len) }
        })
    }

    /// The ranges as system calls take them.
    pub(crate) fn io_slices(&self) -> Vec<IoSlice<'_>> {
        self.segments().map(IoSlice::new).collect()
    }
}

impl Drop for TransferOut {
    fn drop(&mut self) {
        self.shares.end(Way::Out);
    }
}
