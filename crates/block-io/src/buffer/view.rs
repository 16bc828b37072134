//! One or several ranges of memory, as one run of bytes.

use std::sync::Arc;

use super::memory::{Memory, Way};

/// A range of one memory.
#[derive(Clone, Copy)]
pub(super) struct Part<'b> {
    pub(super) memory: &'b Arc<Memory>,
    pub(super) start: usize,
    pub(super) len: usize,
    /// Somebody may come back to the range without asking its buffer.
    pub(super) shared: bool,
}

impl<'b> Part<'b> {
    /// The bytes from `from` on, `len` of them.
    fn narrowed(self, from: usize, len: usize) -> Part<'b> {
        debug_assert!(from + len <= self.len);
        Part {
            start: self.start + from,
            len,
            ..self
        }
    }

    /// Whether the memory is in use by a transfer that this part's holder has
    /// to wait for; see [`Memory::is_in_transfer`].
    pub(super) fn is_in_transfer(&self, way: Option<Way>) -> bool {
        self.shared && self.memory.is_in_transfer(way, self.start, self.len)
    }

    fn is_aligned(&self, alignment: usize) -> bool {
        (self.memory.at(self.start) as usize).is_multiple_of(alignment)
            && self.len.is_multiple_of(alignment)
    }
}

/// A part of a vector, and where it ends in it.
#[derive(Clone, Copy)]
pub(super) struct Piece<'b> {
    pub(super) part: Part<'b>,
    pub(super) end: usize,
}

/// What a `Destination` or a `Source` is about.
#[derive(Clone, Copy)]
pub(super) enum View<'b> {
    One(Part<'b>),
    /// The bytes from `from` on of a vector, `len` of them. Whatever part of
    /// the vector this is, the slice is all of it: so splitting searches
    /// nothing.
    Many {
        pieces: &'b [Piece<'b>],
        from: usize,
        len: usize,
    },
}

impl<'b> View<'b> {
    pub(super) fn len(&self) -> usize {
        match self {
            View::One(part) => part.len,
            View::Many { len, .. } => *len,
        }
    }

    /// The bytes from `from` on, `len` of them.
    pub(super) fn narrowed(self, from: usize, len: usize) -> View<'b> {
        debug_assert!(from + len <= self.len());
        match self {
            View::One(part) => View::One(part.narrowed(from, len)),
            View::Many {
                pieces,
                from: start,
                ..
            } => View::Many {
                pieces,
                from: start + from,
                len,
            },
        }
    }

    /// The ranges, none of them empty.
    pub(super) fn parts(self) -> Parts<'b> {
        match self {
            View::One(part) => Parts {
                one: (part.len > 0).then_some(part),
                pieces: &[],
                from: 0,
                left: 0,
            },
            View::Many { pieces, from, len } => {
                let first = pieces.partition_point(|piece| piece.end <= from);
                Parts {
                    one: None,
                    pieces: &pieces[first..],
                    from,
                    left: len,
                }
            }
        }
    }

    /// How many ranges there are. Every request asks.
    #[inline]
    pub(super) fn segment_count(self) -> usize {
        match self {
            View::One(part) => usize::from(part.len > 0),
            View::Many { .. } => self.parts().count(),
        }
    }

    /// The only range, if it is one; the first one if all are empty.
    pub(super) fn only_part(self) -> Option<Part<'b>> {
        if let View::One(part) = self {
            return Some(part);
        }
        let mut parts = self.parts();
        match (parts.next(), parts.next()) {
            (only, None) => only,
            (_, Some(_)) => None,
        }
    }

    pub(super) fn is_aligned(self, alignment: usize) -> bool {
        self.parts().all(|part| part.is_aligned(alignment))
    }

    /// How many bytes the first `segments` ranges have.
    pub(super) fn bytes_of(self, segments: usize) -> usize {
        match self {
            View::One(part) => part.len,
            View::Many { pieces, .. } if pieces.len() <= segments => self.len(),
            View::Many { .. } => self.parts().take(segments).map(|part| part.len).sum(),
        }
    }
}

/// The ranges of a [`View`].
pub(super) struct Parts<'b> {
    one: Option<Part<'b>>,
    pieces: &'b [Piece<'b>],
    /// Where the next part begins in the vector.
    from: usize,
    left: usize,
}

impl<'b> Iterator for Parts<'b> {
    type Item = Part<'b>;

    fn next(&mut self) -> Option<Part<'b>> {
        if let Some(part) = self.one.take() {
            return Some(part);
        }
        if self.left == 0 {
            return None;
        }
        let (piece, rest) = self.pieces.split_first()?;
        self.pieces = rest;
        let skipped = self.from - (piece.end - piece.part.len);
        let len = (piece.part.len - skipped).min(self.left);
        self.from += len;
        self.left -= len;
        Some(piece.part.narrowed(skipped, len))
    }
}
