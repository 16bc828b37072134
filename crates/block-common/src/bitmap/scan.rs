//! Finding what is dirty, and what is not.

use std::ops::Range;

use super::HBitmap;

impl HBitmap {
    /// The first dirty byte in `range` (`hbitmap_next_dirty`).
    pub fn next_dirty(&self, range: Range<u64>) -> Option<u64> {
        self.next(range, true)
    }

    /// The first clean byte in `range` (`hbitmap_next_zero`), which ends where
    /// the bitmap does.
    pub fn next_clean(&self, range: Range<u64>) -> Option<u64> {
        self.next(range, false)
    }

    fn next(&self, range: Range<u64>, dirty: bool) -> Option<u64> {
        let range = self.inside(range)?;
        let bit = self.next_bit(range.start >> self.granularity_bits(), dirty)?;
        // A bit beyond the last one may be far beyond.
        if bit >= self.bits() {
            return None;
        }
        let at = (bit << self.granularity_bits()).max(range.start);
        (at < range.end).then_some(at)
    }

    /// The first dirty area in `range`, cut off after `most` bytes
    /// (`hbitmap_next_dirty_area`).
    pub fn next_dirty_area(&self, range: Range<u64>, most: u64) -> Option<Range<u64>> {
        let start = self.next_dirty(range.clone())?;
        let end = range.end.min(self.size()).min(start.saturating_add(most));
        let end = self.next_clean(start..end).unwrap_or(end);
        (start < end).then_some(start..end)
    }

    /// Whether the first byte of `range` is dirty, and how far the same is
    /// true (`hbitmap_status`). `None` beyond the end.
    pub fn status(&self, range: Range<u64>) -> Option<(bool, Range<u64>)> {
        let range = self.inside(range)?;
        let dirty = self.get(range.start);
        let end = self.next(range.clone(), !dirty).unwrap_or(range.end);
        Some((dirty, range.start..end))
    }

    /// The dirty areas in `range`, in order: none is empty, and no two touch.
    pub fn areas(&self, range: Range<u64>) -> Areas<'_> {
        Areas { map: self, range }
    }

    /// Where each dirty granule begins, from the one that `from` is in on
    /// (`hbitmap_iter_init`, `hbitmap_iter_next`).
    pub fn granules(&self, from: u64) -> Granules<'_> {
        let bit = from >> self.granularity_bits();
        let mut granules = Granules {
            map: self,
            base: bit & !63,
            word: 0,
        };
        if bit < self.bits() {
            granules.load(bit & !63);
            granules.word &= !0 << (bit & 63);
        }
        granules
    }
}

/// The dirty areas of a bitmap; see [`HBitmap::areas`].
#[derive(Clone, Debug)]
pub struct Areas<'m> {
    map: &'m HBitmap,
    range: Range<u64>,
}

impl Iterator for Areas<'_> {
    type Item = Range<u64>;

    fn next(&mut self) -> Option<Range<u64>> {
        let area = self.map.next_dirty_area(self.range.clone(), u64::MAX)?;
        self.range.start = area.end;
        Some(area)
    }
}

/// The dirty granules of a bitmap; see [`HBitmap::granules`].
#[derive(Clone, Debug)]
pub struct Granules<'m> {
    map: &'m HBitmap,
    /// The bit that `word` begins with.
    base: u64,
    /// What of it has not been seen.
    word: u64,
}

impl Granules<'_> {
    fn load(&mut self, base: u64) {
        let there = self.map.bits() - base;
        let word = self.map.word(base);
        self.base = base;
        self.word = match there < 64 {
            true => word & ((1 << there) - 1),
            false => word,
        };
    }
}

impl Iterator for Granules<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if self.word == 0 {
            let bit = self.map.next_bit(self.base.checked_add(64)?, true)?;
            self.load(bit & !63);
        }
        let bit = self.base + u64::from(self.word.trailing_zeros());
        self.word &= self.word - 1;
        Some(bit << self.map.granularity_bits())
    }
}
