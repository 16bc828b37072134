//! Several ranges of memory put together.

use smallvec::SmallVec;

use super::view::{Part, Piece, View};
use super::{Destination, Source};

/// The parts of a vector, none of them empty.
#[derive(Clone, Default)]
struct Pieces<'b>(SmallVec<[Piece<'b>; 4]>);

impl<'b> Pieces<'b> {
    fn len(&self) -> usize {
        self.0.last().map_or(0, |piece| piece.end)
    }

    fn push(&mut self, part: Part<'b>) {
        let end = self.len().checked_add(part.len);
        let end = end.expect("the length of a vector fits the address space");
        self.0.push(Piece { part, end });
    }

    fn view(&self) -> View<'_> {
        View::Many {
            pieces: &self.0,
            from: 0,
            len: self.len(),
        }
    }
}

/// Several [`Destination`]s that one request fills (`QEMUIOVector`).
///
/// ```
/// use block_io::{Buffer, DestinationVec};
///
/// let (mut header, mut data) = (Buffer::zeroed(4), Buffer::zeroed(512));
/// let mut both = DestinationVec::new();
/// both.push(header.destination());
/// both.push(data.destination());
/// assert_eq!(both.destination().len(), 516);
/// ```
#[derive(Default)]
pub struct DestinationVec<'b> {
    pieces: Pieces<'b>,
}

impl std::fmt::Debug for DestinationVec<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DestinationVec({} bytes)", self.len())
    }
}

impl<'b> DestinationVec<'b> {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the ranges of `destination` at the end (`qemu_iovec_concat`).
    ///
    /// # Panics
    /// When the length does not fit the address space.
    pub fn push(&mut self, destination: Destination<'b>) {
        for part in destination.into_view().parts() {
            // It can be lent by `destination` time and again.
            self.pieces.push(Part {
                shared: true,
                ..part
            });
        }
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Whether the length is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of it, as one destination. As with
    /// [`Destination::reborrow`], its bytes are out of reach while a request
    /// that was dropped may still be using them.
    pub fn destination(&mut self) -> Destination<'_> {
        Destination::of(self.pieces.view())
    }
}

/// Several [`Source`]s that one request takes its data from (`QEMUIOVector`).
#[derive(Clone, Default)]
pub struct SourceVec<'b> {
    pieces: Pieces<'b>,
}

impl std::fmt::Debug for SourceVec<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SourceVec({} bytes)", self.len())
    }
}

impl<'b> SourceVec<'b> {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the ranges of `source` at the end (`qemu_iovec_concat`).
    ///
    /// # Panics
    /// When the length does not fit the address space.
    pub fn push(&mut self, source: Source<'b>) {
        source
            .view()
            .parts()
            .for_each(|part| self.pieces.push(part));
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Whether the length is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of it, as one source.
    pub fn source(&self) -> Source<'_> {
        Source::of(self.pieces.view())
    }
}
