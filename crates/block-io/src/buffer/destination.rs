//! Where a read puts its data.
//!
//! **Fenced module**, for showing borrowed ranges as slices.
//! [`buffer`](super) has the rules.

use std::io::IoSliceMut;
use std::marker::PhantomData;

use smallvec::SmallVec;

use super::memory::Way;
use super::view::{Part, View};
use super::{Source, TransferIn};

/// Where a read puts its data: exclusively borrowed memory, one range of a
/// [`Buffer`](super::Buffer) or, from a
/// [`DestinationVec`](super::DestinationVec), several (`QEMUIOVector`).
///
/// Passed on by value. A driver that needs two pieces
/// [splits](Destination::split_at) it; there is no way to keep using a range
/// that has been given to the kernel. One that wants to look at what was read
/// passes a [reborrow](Destination::reborrow) on.
pub struct Destination<'b> {
    view: View<'b>,
    exclusive: PhantomData<&'b mut [u8]>,
}

impl std::fmt::Debug for Destination<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Destination({} bytes)", self.len())
    }
}

impl<'b> Destination<'b> {
    /// The caller has exclusive access to all of `view` for `'b`.
    pub(super) fn of(view: View<'b>) -> Self {
        Destination {
            view,
            exclusive: PhantomData,
        }
    }

    pub(super) fn view(&self) -> View<'b> {
        self.view
    }

    pub(super) fn into_view(self) -> View<'b> {
        self.view
    }

    /// The length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.view.len()
    }

    /// Whether the length is zero.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first `at` bytes, and the rest. Takes the same time however many
    /// ranges there are.
    ///
    /// # Panics
    /// When `at` is beyond the end.
    pub fn split_at(self, at: usize) -> (Destination<'b>, Destination<'b>) {
        assert!(at <= self.len(), "split beyond the end of a destination");
        (
            Destination::of(self.view.narrowed(0, at)),
            Destination::of(self.view.narrowed(at, self.len() - at)),
        )
    }

    /// Leaves the first `bytes` out from now on.
    pub(crate) fn advance(&mut self, bytes: usize) {
        assert!(bytes <= self.len(), "advance beyond the end");
        self.view = self.view.narrowed(bytes, self.len() - bytes);
    }

    /// The same bytes for as long as `self` is left alone: for passing them
    /// on and looking at them afterwards.
    ///
    /// Should the request they were passed on to be dropped in the middle,
    /// the kernel may still be writing to them. Until it is done, whatever
    /// would touch these bytes panics.
    pub fn reborrow(&mut self) -> Destination<'_> {
        self.share();
        Destination::of(self.view)
    }

    /// The bytes as what a write takes its data from, for as long as `self`
    /// is left alone.
    ///
    /// # Panics
    /// When a request that had a [reborrow](Destination::reborrow) was
    /// dropped and the kernel may still be writing.
    pub fn as_source(&mut self) -> Source<'_> {
        self.share();
        for part in self.view.parts() {
            assert_untouched(&part, Some(Way::In));
        }
        Source::of(self.view)
    }

    /// The pieces of a vector are shared from the start.
    fn share(&mut self) {
        if let View::One(part) = &mut self.view {
            part.shared = true;
        }
    }

    /// In how many ranges the bytes lie.
    #[inline]
    pub fn segment_count(&self) -> usize {
        self.view.segment_count()
    }

    /// The ranges one after the other, none of them empty.
    ///
    /// # Panics
    /// As [`as_contiguous_mut`](Destination::as_contiguous_mut).
    pub fn segments_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.view.parts().map(|part| {
            // SAFETY: the slices borrow `self` exclusively, and the ranges of
            // a view do not overlap.
            unsafe { bytes_mut(part) }
        })
    }

    /// Calls `each` with the ranges one after the other.
    ///
    /// # Panics
    /// As [`as_contiguous_mut`](Destination::as_contiguous_mut).
    pub fn for_each_segment(&mut self, each: impl FnMut(&mut [u8])) {
        self.segments_mut().for_each(each);
    }

    /// The bytes, if they lie in one range.
    ///
    /// # Panics
    /// When a request that had a [reborrow](Destination::reborrow) of them
    /// was dropped and the kernel may still be using them.
    #[inline]
    pub fn as_contiguous_mut(&mut self) -> Option<&mut [u8]> {
        if self.is_empty() {
            return Some(&mut []);
        }
        let part = self.view.only_part()?;
        // SAFETY: the slice borrows `self` exclusively.
        Some(unsafe { bytes_mut(part) })
    }

    /// Up to `max_segments` ranges from the start, with up to `max_bytes`.
    pub(crate) fn io_slices(
        &mut self,
        max_bytes: usize,
        max_segments: usize,
    ) -> SmallVec<[IoSliceMut<'_>; 8]> {
        let front = self.view.narrowed(0, max_bytes.min(self.len()));
        let parts = front.parts().take(max_segments);
        parts
            .map(|part| {
                // SAFETY: the slices borrow `self` exclusively, and the
                // ranges of a view do not overlap.
                IoSliceMut::new(unsafe { bytes_mut(part) })
            })
            .collect()
    }

    /// Sets every byte.
    ///
    /// # Panics
    /// As [`as_contiguous_mut`](Destination::as_contiguous_mut).
    pub fn fill(&mut self, byte: u8) {
        self.for_each_segment(|segment| segment.fill(byte));
    }

    /// Copies all of `bytes` (`qemu_iovec_from_buf`).
    ///
    /// # Panics
    /// When the lengths differ, and as
    /// [`as_contiguous_mut`](Destination::as_contiguous_mut).
    pub fn copy_from_slice(&mut self, mut bytes: &[u8]) {
        assert_eq!(self.len(), bytes.len(), "lengths of a copy differ");
        for segment in self.segments_mut() {
            let (front, rest) = bytes.split_at(segment.len());
            segment.copy_from_slice(front);
            bytes = rest;
        }
    }

    /// Copies all of `source`.
    ///
    /// # Panics
    /// When the lengths differ, and as
    /// [`as_contiguous_mut`](Destination::as_contiguous_mut).
    pub fn copy_from(&mut self, mut source: Source<'_>) {
        assert_eq!(self.len(), source.len(), "lengths of a copy differ");
        for segment in self.segments_mut() {
            let (front, rest) = source.split_at(segment.len());
            front.copy_to_slice(segment);
            source = rest;
        }
    }

    /// Whether `alignment` divides the address and the length of every range,
    /// as direct I/O wants it.
    pub fn is_aligned(&self, alignment: usize) -> bool {
        self.view.is_aligned(alignment)
    }

    /// How many bytes the first `segments` ranges have.
    pub(crate) fn bytes_of(&self, segments: usize) -> usize {
        self.view.bytes_of(segments)
    }

    /// The kernel's share of the first `bytes`. The caller keeps the
    /// `Destination` locked away until the transfer has ended, or drops it.
    pub(crate) fn transfer(&self, bytes: usize) -> TransferIn {
        let front = self.view.narrowed(0, bytes);
        for part in front.parts() {
            assert_untouched(&part, None);
        }
        TransferIn::of(front)
    }
}

#[cfg(test)]
impl Destination<'_> {
    pub(crate) fn transfer_all(&self) -> TransferIn {
        self.transfer(self.len())
    }
}

fn assert_untouched(part: &Part<'_>, way: Option<Way>) {
    assert!(
        !part.is_in_transfer(way),
        "a cancelled request still uses this memory"
    );
}

/// # Safety
/// `part` is of a `Destination` that is borrowed exclusively for `'a`, and
/// what else is made of it meanwhile does not overlap.
unsafe fn bytes_mut<'a>(part: Part<'_>) -> &'a mut [u8] {
    assert_untouched(&part, None);
    // SAFETY: in bounds. Ranges of `Destination`s do not overlap: the first of
    // a buffer is made under a mutable borrow, with no transfer left, others
    // by splitting. What was lent of this one is gone, as it is borrowed
    // exclusively. Nor is a transfer left: one that began with this value or
    // one like it has ended before that was given back, and one that began
    // with a lent value was noted, which we have just looked for.
    unsafe { std::slice::from_raw_parts_mut(part.memory.at(part.start), part.len) }
}
