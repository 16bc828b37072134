//! The bitmap.

use std::ops::Range;

use super::MapError;
use super::tree::{Tree, level_for};
use crate::limits::MAX_LENGTH;

/// The coarsest granularity, as a power of two.
pub const MAX_GRANULARITY_BITS: u32 = 62;

/// A bit for each *granule* of a range of bytes, with a tree above that finds
/// the next one in a step a level (`HBitmap`).
///
/// Positions and lengths are in bytes of what is described, as in QEMU.
/// Ranges are cut to the size, so none is too long. A byte is *dirty* when the
/// bit of its granule is set.
///
/// Memory goes with what is mixed: neither what is clear nor what is set
/// throughout takes any, so a bitmap of any size is made at once. Cloning one
/// costs nothing either; what is written afterwards is copied then. At worst,
/// when every leaf is mixed, it takes a little more than a bit a granule.
#[derive(Clone, Debug)]
pub struct HBitmap {
    size: u64,
    granularity: u32,
    level: u32,
    /// How many bits are set.
    ones: u64,
    tree: Tree,
}

impl HBitmap {
    /// A bitmap of `size` bytes with nothing dirty; a bit stands for
    /// 2^`granularity` bytes (`hbitmap_alloc`).
    ///
    /// # Errors
    /// [`MapError::TooLarge`] for more than [`MAX_LENGTH`],
    /// [`MapError::Granularity`] for more than [`MAX_GRANULARITY_BITS`].
    pub fn new(size: u64, granularity: u32) -> Result<Self, MapError> {
        if granularity > MAX_GRANULARITY_BITS {
            return Err(MapError::Granularity(granularity));
        }
        if size > MAX_LENGTH {
            return Err(MapError::TooLarge(size));
        }
        let mut map = HBitmap {
            size,
            granularity,
            level: 0,
            ones: 0,
            tree: Tree::Zero,
        };
        map.level = level_for(map.bits());
        Ok(map)
    }

    /// What it describes, in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many bytes a bit stands for, as a power of two
    /// (`hbitmap_granularity`).
    pub fn granularity_bits(&self) -> u32 {
        self.granularity
    }

    /// How many bytes a bit stands for.
    pub fn granularity(&self) -> u64 {
        1 << self.granularity
    }

    /// How many bytes are dirty, in whole granules: may be more than the size
    /// (`hbitmap_count`).
    pub fn count(&self) -> u64 {
        self.ones << self.granularity
    }

    /// Whether nothing is dirty (`hbitmap_empty`).
    pub fn is_clean(&self) -> bool {
        self.ones == 0
    }

    /// Whether the byte at `at` is dirty (`hbitmap_get`); beyond the end none
    /// is.
    pub fn get(&self, at: u64) -> bool {
        at < self.size && self.word(at >> self.granularity) >> (at >> self.granularity & 63) & 1 > 0
    }

    /// Makes every granule dirty that has a byte in `range` (`hbitmap_set`).
    pub fn set(&mut self, range: Range<u64>) {
        let Some(range) = self.inside(range) else {
            return;
        };
        let low = range.start >> self.granularity;
        let high = ((range.end - 1) >> self.granularity) + 1;
        if self.has_any(low, high, false) {
            self.ones += self.tree.assign(self.level, low, high, true);
        }
    }

    /// Makes every granule clean that lies in `range` as a whole; the last
    /// one need only do so as far as the bitmap goes (`hbitmap_reset`, which
    /// demands that there is no other). What was dirty outside stays so.
    pub fn reset(&mut self, range: Range<u64>) {
        let Some(range) = self.inside(range) else {
            return;
        };
        let low = self.bits_of(range.start);
        let high = match range.end == self.size {
            true => self.bits(),
            false => range.end >> self.granularity,
        };
        if low < high && self.has_any(low, high, true) {
            self.ones -= self.tree.assign(self.level, low, high, false);
        }
    }

    /// Whether one of these bits is set, or is not. Where nothing changes,
    /// nothing that is shared is copied.
    fn has_any(&self, low: u64, high: u64, set: bool) -> bool {
        self.next_bit(low, set).is_some_and(|bit| bit < high)
    }

    /// Makes everything clean (`hbitmap_reset_all`).
    pub fn reset_all(&mut self) {
        self.tree = Tree::Zero;
        self.ones = 0;
    }

    /// Changes the size (`hbitmap_truncate`). What is new is clean, except the
    /// rest of a granule that was dirty; what is cut off is forgotten, except
    /// the rest of a granule that begins before the end.
    ///
    /// # Errors
    /// [`MapError::TooLarge`].
    pub fn truncate(&mut self, size: u64) -> Result<(), MapError> {
        if size > MAX_LENGTH {
            return Err(MapError::TooLarge(size));
        }
        let (before, after) = (self.bits(), self.bits_of(size));
        if after < before {
            self.ones -= self.tree.assign(self.level, after, before, false);
        }
        self.size = size;
        let level = level_for(after);
        self.tree.relevel(self.level, level);
        self.level = level;
        Ok(())
    }

    /// Makes dirty what is dirty in `other` (`hbitmap_merge`). Where `other`
    /// is coarser, whole granules of it; where it is finer, every granule that
    /// it touches.
    ///
    /// # Errors
    /// [`MapError::DifferentSizes`].
    pub fn merge(&mut self, other: &HBitmap) -> Result<(), MapError> {
        if self.size != other.size {
            return Err(MapError::DifferentSizes {
                to: self.size,
                from: other.size,
            });
        }
        if self.granularity == other.granularity {
            self.ones += self.tree.unite(&other.tree, self.level);
            return Ok(());
        }
        for area in other.areas(0..other.size) {
            self.set(area);
        }
        Ok(())
    }

    /// How many bits there are.
    pub(super) fn bits(&self) -> u64 {
        self.bits_of(self.size)
    }

    /// How many granules `bytes` bytes take.
    fn bits_of(&self, bytes: u64) -> u64 {
        bytes.div_ceil(self.granularity())
    }

    /// As much of `range` as there is.
    pub(super) fn inside(&self, range: Range<u64>) -> Option<Range<u64>> {
        let end = range.end.min(self.size);
        (range.start < end).then_some(range.start..end)
    }

    pub(super) fn tree(&self) -> (&Tree, u32) {
        (&self.tree, self.level)
    }

    /// The word that a bit is in, without what is beyond the last bit.
    pub(super) fn word(&self, bit: u64) -> u64 {
        self.tree.word(self.level, bit)
    }

    /// The first bit from `from` on that is set, or that is not; there is
    /// always one that is not, perhaps beyond the end.
    pub(super) fn next_bit(&self, from: u64, set: bool) -> Option<u64> {
        match from < self.bits() {
            true => self.tree.next(self.level, from, set),
            false => None,
        }
    }

    /// Replaces the word that begins with `bit`, as far as there are bits.
    pub(super) fn put_word(&mut self, bit: u64, word: u64) {
        let there = self.bits() - bit;
        let word = match there < 64 {
            true => word & ((1 << there) - 1),
            false => word,
        };
        let before = self.tree.put_word(self.level, bit, word);
        self.ones = self.ones - before + u64::from(word.count_ones());
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        self.tree.check(self.level);
        assert_eq!(self.level, level_for(self.bits()));
        assert_eq!(self.ones, self.tree.ones(self.level));
        assert!(self.next_bit(0, true).is_none_or(|bit| bit < self.bits()));
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
