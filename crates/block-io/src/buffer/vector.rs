//! Several ranges of memory put together.

use super::view::{Part, Piece, View};
use super::{Destination, Source};

/// So many parts cost no allocation.
const FEW: usize = 4;

/// The parts of a vector, none of them empty.
///
/// No `SmallVec`: to the compiler, dropping one uses what it borrows, so the
/// buffers would stay borrowed until the vector goes out of scope.
#[derive(Clone, Default)]
enum Pieces<'b> {
    #[default]
    None,
    /// The first `len`; the others are copies that nobody looks at.
    Few {
        pieces: [Piece<'b>; FEW],
        len: usize,
    },
    Many(Vec<Piece<'b>>),
}

impl<'b> Pieces<'b> {
    fn as_slice(&self) -> &[Piece<'b>] {
        match self {
            Pieces::None => &[],
            Pieces::Few { pieces, len } => &pieces[..*len],
            Pieces::Many(pieces) => pieces,
        }
    }

    fn len(&self) -> usize {
        self.as_slice().last().map_or(0, |piece| piece.end)
    }

    fn push(&mut self, part: Part<'b>) {
        let end = self.len().checked_add(part.len);
        let end = end.expect("the length of a vector fits the address space");
        let piece = Piece { part, end };
        match self {
            Pieces::None => {
                *self = Pieces::Few {
                    pieces: [piece; FEW],
                    len: 1,
                }
            }
            Pieces::Few { pieces, len } if *len < FEW => {
                pieces[*len] = piece;
                *len += 1;
            }
            Pieces::Few { pieces, .. } => {
                let mut many = Vec::with_capacity(4 * FEW);
                many.extend_from_slice(pieces);
                many.push(piece);
                *self = Pieces::Many(many);
            }
            Pieces::Many(pieces) => pieces.push(piece),
        }
    }

    fn view(&self) -> View<'_> {
        View::Many {
            pieces: self.as_slice(),
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
