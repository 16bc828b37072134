//! Which parts of a table are not stored yet.

use std::ops::Range;

/// The least that is written, in bytes.
const SECTOR: usize = 512;

/// The parts of a table of some length, one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Dirty(u64);

/// How long a part is.
fn part_of(length: usize) -> usize {
    (length / 64).max(SECTOR)
}

impl Dirty {
    /// All parts.
    pub const ALL: Dirty = Dirty(u64::MAX);

    pub fn is_clean(self) -> bool {
        self.0 == 0
    }

    /// Notes a byte of a table that is `length` bytes long.
    pub fn note(&mut self, byte: usize, length: usize) {
        self.0 |= 1 << (byte / part_of(length));
    }

    pub fn join(&mut self, other: Dirty) {
        self.0 |= other.0;
    }

    /// The ranges of bytes that are dirty.
    pub fn ranges(self, length: usize) -> impl Iterator<Item = Range<usize>> {
        let part = part_of(length);
        let mut left = self.0;
        std::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            let first = left.trailing_zeros();
            let count = (left >> first).trailing_ones();
            let mask = u64::MAX >> (64 - count) << first;
            left &= !mask;
            let start = first as usize * part;
            let end = (first + count) as usize * part;
            (start < length).then(|| start..end.min(length))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_as_long_as_what_is_dirty() {
        let ranges = |dirty: Dirty, length| dirty.ranges(length).collect::<Vec<_>>();
        assert_eq!(ranges(Dirty::ALL, 512), vec![0..512]);
        assert_eq!(ranges(Dirty::ALL, 1 << 21), vec![0..1 << 21]);
        let mut dirty = Dirty::default();
        assert!(ranges(dirty, 65536).is_empty());
        dirty.note(0, 65536);
        dirty.note(1500, 65536);
        dirty.note(65535, 65536);
        assert_eq!(ranges(dirty, 65536), [0..2048, 64512..65536]);
    }
}
