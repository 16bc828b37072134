//! What a write takes its data from.
//!
//! **Fenced module**, for showing borrowed ranges as slices.
//! [`buffer`](super) has the rules.

use std::io::IoSlice;

use smallvec::SmallVec;

use super::TransferOut;
use super::view::{Part, View};
use super::zero::is_zero;

/// What a write takes its data from: borrowed memory, one range of a
/// [`Buffer`](super::Buffer) or, from a [`SourceVec`](super::SourceVec),
/// several (`QEMUIOVector`).
#[derive(Clone, Copy)]
pub struct Source<'b> {
    view: View<'b>,
}

impl std::fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Source({} bytes)", self.len())
    }
}

impl<'b> Source<'b> {
    /// Nobody writes to the memory of `view` for `'b`, and no incoming
    /// transfer is left there.
    pub(super) fn of(view: View<'b>) -> Self {
        Source { view }
    }

    pub(super) fn view(self) -> View<'b> {
        self.view
    }

    /// The length in bytes.
    #[inline]
    pub fn len(self) -> usize {
        self.view.len()
    }

    /// Whether the length is zero.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The first `at` bytes, and the rest. Takes the same time however many
    /// ranges there are.
    ///
    /// # Panics
    /// When `at` is beyond the end.
    pub fn split_at(self, at: usize) -> (Source<'b>, Source<'b>) {
        assert!(at <= self.len(), "split beyond the end of a source");
        (
            Source::of(self.view.narrowed(0, at)),
            Source::of(self.view.narrowed(at, self.len() - at)),
        )
    }

    /// In how many ranges the bytes lie.
    #[inline]
    pub fn segment_count(self) -> usize {
        self.view.segment_count()
    }

    /// The ranges one after the other, none of them empty.
    pub fn segments(self) -> impl Iterator<Item = &'b [u8]> {
        self.view.parts().map(bytes)
    }

    /// The bytes, if they lie in one range.
    #[inline]
    pub fn as_contiguous(self) -> Option<&'b [u8]> {
        if self.is_empty() {
            return Some(&[]);
        }
        self.view.only_part().map(bytes)
    }

    /// Up to `max_segments` ranges from the start, with up to `max_bytes`.
    pub(crate) fn io_slices(
        self,
        max_bytes: usize,
        max_segments: usize,
    ) -> SmallVec<[IoSlice<'b>; 8]> {
        let front = self.view.narrowed(0, max_bytes.min(self.len()));
        let parts = front.parts().take(max_segments);
        parts.map(|part| IoSlice::new(bytes(part))).collect()
    }

    /// Copies everything to `target` (`qemu_iovec_to_buf`).
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn copy_to_slice(self, mut target: &mut [u8]) {
        assert_eq!(self.len(), target.len(), "lengths of a copy differ");
        for segment in self.segments() {
            let (front, rest) = target.split_at_mut(segment.len());
            front.copy_from_slice(segment);
            target = rest;
        }
    }

    /// Whether every byte is zero (`qemu_iovec_is_zero`).
    pub fn is_zero(self) -> bool {
        self.segments().all(is_zero)
    }

    /// Whether `alignment` divides the address and the length of every range,
    /// as direct I/O wants it.
    pub fn is_aligned(self, alignment: usize) -> bool {
        self.view.is_aligned(alignment)
    }

    /// How many bytes the first `segments` ranges have.
    pub(crate) fn bytes_of(self, segments: usize) -> usize {
        self.view.bytes_of(segments)
    }

    /// The kernel's share of the first `bytes`.
    pub(crate) fn transfer(self, bytes: usize) -> TransferOut {
        TransferOut::of(self.view.narrowed(0, bytes))
    }
}

#[cfg(test)]
impl Source<'_> {
    pub(crate) fn transfer_all(self) -> TransferOut {
        self.transfer(self.len())
    }
}

fn bytes(part: Part<'_>) -> &[u8] {
    // SAFETY: in bounds. `Source::of` was promised that nobody writes for as
    // long as the part's lifetime: what it is of, a buffer or a destination,
    // is borrowed that long, and had no incoming transfer when it began.
    unsafe { std::slice::from_raw_parts(part.memory.at(part.start), part.len) }
}
