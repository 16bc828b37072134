//! Hierarchical bitmaps: the scenarios of `test-hbitmap.c`.
//!
//! Whatever is done to a bitmap is done to one `bool` a bit too, and then all
//! is compared that can be asked.

use std::ops::Range;

use block_common::bitmap::HBitmap;

/// So many bits lie below a bit of the first level, the second and the third.
const L1: u64 = 64;
const L2: u64 = L1 * L1;
const L3: u64 = L2 * L1;

/// A bitmap and its shadow.
struct Pair {
    map: HBitmap,
    shadow: Vec<bool>,
    granularity: u64,
}

impl Pair {
    fn of(size: u64, granularity: u32) -> Pair {
        Pair {
            map: HBitmap::new(size, granularity).expect("a size that there is"),
            shadow: vec![false; size as usize],
            granularity: 1 << granularity,
        }
    }

    fn whole_granules(&self, range: Range<u64>) -> Range<usize> {
        let start = range.start / self.granularity * self.granularity;
        let end = range.end.next_multiple_of(self.granularity);
        start as usize..(end as usize).min(self.shadow.len())
    }

    /// Sets `count` bits from `first` on.
    fn set(&mut self, first: u64, count: u64) {
        let range = first..first + count;
        self.map.set(range.clone());
        let granules = self.whole_granules(range);
        self.shadow[granules].fill(true);
        self.check(first);
    }

    fn reset(&mut self, first: u64, count: u64) {
        let range = first..first + count;
        self.map.reset(range.clone());
        self.shadow[range.start as usize..range.end as usize].fill(false);
        self.check(first);
    }

    fn reset_all(&mut self) {
        self.map.reset_all();
        self.shadow.fill(false);
        self.check(0);
    }

    fn truncate(&mut self, size: u64) {
        self.map.truncate(size).expect("a size that there is");
        self.shadow.resize(size as usize, false);
        self.check_all();
    }

    /// Where each granule begins from `from` on that is set.
    fn granules(&self, from: u64) -> Vec<u64> {
        let first = from / self.granularity * self.granularity;
        let starts = (first..self.shadow.len() as u64).step_by(self.granularity as usize);
        starts.filter(|&at| self.shadow[at as usize]).collect()
    }

    /// Iterates from the beginning and from `from`, and counts.
    fn check(&self, from: u64) {
        for from in [0, from] {
            let found: Vec<u64> = self.map.granules(from).collect();
            assert_eq!(found, self.granules(from), "from {from} on");
        }
        let count = self.granules(0).len() as u64 * self.granularity;
        assert_eq!(self.map.count(), count);
    }

    fn check_all(&self) {
        self.check(0);
        for at in 0..self.shadow.len() as u64 {
            assert_eq!(self.map.get(at), self.shadow[at as usize], "at {at}");
        }
    }

    fn next(&self, range: Range<u64>, set: bool) -> Option<u64> {
        let mut bits = range.start..range.end.min(self.shadow.len() as u64);
        bits.find(|&at| self.shadow[at as usize] == set)
    }

    fn check_next(&self, start: u64, count: u64) {
        let range = start..start.saturating_add(count);
        let (dirty, clean) = (
            self.next(range.clone(), true),
            self.next(range.clone(), false),
        );
        assert_eq!(self.map.next_dirty(range.clone()), dirty, "{range:?}");
        assert_eq!(self.map.next_clean(range.clone()), clean, "{range:?}");
    }

    /// Ranges from many places, of many lengths.
    fn check_next_from_everywhere(&self) {
        let size = self.shadow.len() as u64;
        let starts = [
            0,
            1,
            L1 - 1,
            L1,
            L1 + 1,
            L2 - 1,
            L2,
            L2 + L1,
            L2 * 2,
            size - 1,
            size,
        ];
        for start in starts {
            for count in [0, 1, 5, L1, L2, L2 * 2 + 3, size, u64::MAX] {
                self.check_next(start, count);
            }
        }
    }

    fn check_area(&self, start: u64, end: u64, most: u64) {
        let first = self.next(start..end, true);
        let expected = first.filter(|_| most > 0).map(|first| {
            let end = end
                .min(self.shadow.len() as u64)
                .min(first.saturating_add(most));
            first..self.next(first..end, false).unwrap_or(end)
        });
        let found = self.map.next_dirty_area(start..end, most);
        assert_eq!(found, expected, "from {start} to {end}, {most} at most");
    }

    fn check_areas_small(&self) {
        let size = self.shadow.len() as u64;
        for start in 0..size {
            for most in [1, 2, u64::MAX] {
                self.check_area(start, size, most);
            }
        }
    }

    fn check_areas(&self) {
        let size = self.shadow.len() as u64;
        for start in [
            0,
            1,
            L1 - 1,
            L1,
            L1 + 5,
            L2 - 1,
            L2,
            L2 + L1,
            size / 2,
            size - 1,
        ] {
            for end in [
                start,
                start + 1,
                start + 7,
                start + L1,
                start + L2,
                size,
                u64::MAX,
            ] {
                for most in [1, 2, 9, L1, L2, size, u64::MAX] {
                    self.check_area(start, end, most);
                }
            }
        }
    }
}

/// `/hbitmap/size/0`
#[test]
fn size_0() {
    let pair = Pair::of(0, 0);
    pair.check_all();
    assert!(pair.map.is_clean());
    assert!(!pair.map.get(0));
}

/// `/hbitmap/size/unaligned`
#[test]
fn size_unaligned() {
    let mut pair = Pair::of(L3 + 23, 0);
    pair.set(0, 1);
    pair.set(L3 + 22, 1);
    assert_eq!(pair.map.granules(0).collect::<Vec<_>>(), [0, L3 + 22]);
}

/// `/hbitmap/iter/partial`
#[test]
fn iter_partial() {
    let mut pair = Pair::of(L3, 0);
    pair.set(0, L3);
    let borders = [
        1,
        L1 - 1,
        L1,
        L1 * 2 - 1,
        L2 - 1,
        L2,
        L2 + 1,
        L2 + L1,
        L2 + L1 * 2 - 1,
        L2 * 2 - 1,
        L2 * 2,
        L2 * 2 + 1,
        L2 * 2 + L1,
        L2 * 2 + L1 * 2 - 1,
        L3 / 2,
        L3 - 1,
        L3,
    ];
    for start in borders {
        assert!(pair.map.granules(start).eq(start..L3), "from {start} on");
    }
}

/// `/hbitmap/iter/granularity`
#[test]
fn iter_granularity() {
    let granule = 128;
    let mut pair = Pair::of(131_072 << 7, 7);
    assert_eq!(pair.map.granules(0).next(), None);
    let set = (L2 + L1 + 1) * granule;
    pair.map.set(set..set + 1);
    let mut found = pair.map.granules(0);
    assert_eq!((found.next(), found.next()), (Some(set), None));
    assert_eq!(pair.map.granules(set + granule).next(), None);
    let last = (131_072 << 7) - granule;
    pair.map.set((131_072 << 7) - 8..131_072 << 7);
    let mut found = pair.map.granules(set + granule);
    assert_eq!((found.next(), found.next()), (Some(last), None));
}

/// `/hbitmap/get/some`
#[test]
fn get_some() {
    let mut pair = Pair::of(2 * L2, 0);
    for at in [10, L1 - 1, L1, L2 - 1, L2] {
        pair.set(at, 1);
        pair.check_all();
    }
}

/// `/hbitmap/set/all`
#[test]
fn set_all() {
    let mut pair = Pair::of(L3, 0);
    pair.set(0, L3);
    pair.check_all();
}

/// `/hbitmap/set/two-elem`
#[test]
fn set_two_elem() {
    let mut pair = Pair::of(L3, 0);
    pair.set(L1 - 1, 2);
    pair.set(L1 * 2 - 1, 4);
    pair.set(L1 * 4, L1 + 1);
    pair.set(L1 * 8 - 1, L1 + 1);
    pair.set(L2 - 1, 2);
    pair.set(L2 + L1 - 1, 8);
    pair.set(L2 + L1 * 4, L1 + 1);
    pair.set(L2 + L1 * 8 - 1, L1 + 1);
    pair.check_all();
}

/// `/hbitmap/set/general`
#[test]
fn set_general() {
    let mut pair = Pair::of(L3, 0);
    pair.set(L1 - 1, 3 * L1);
    pair.set(L2 - 1, L2 / 2);
    pair.set(L2 * 2 - 1, L2 * 2 + 5);
    pair.set(L3 / 2 - 1, L3 / 4);
    pair.set(L3 - L1, L1);
    pair.check_all();
}

/// `/hbitmap/set/overlap`
#[test]
fn set_overlap() {
    let mut pair = Pair::of(L3 * 2, 0);
    pair.set(L1 - 1, L1 + 2);
    pair.set(L1 * 2 - 1, L1 * 2 + 2);
    pair.set(0, L1 * 3);
    pair.set(L1 * 8 - 1, L2);
    pair.set(L2, L1);
    pair.set(L2 - L1 - 1, L1 * 8 + 2);
    pair.set(L2, L3 - L2 + 1);
    pair.set(L3 - L1, L1 * 3);
    pair.set(L3 - 1, 3);
    pair.set(L3 - 1, L2);
    pair.check_all();
}

/// `/hbitmap/reset/empty`
#[test]
fn reset_empty() {
    let mut pair = Pair::of(L3, 0);
    pair.reset(0, L3);
    pair.check_all();
    assert!(pair.map.is_clean());
}

/// `/hbitmap/reset/all`
#[test]
fn reset_all() {
    let mut pair = Pair::of(L3 * 2, 0);
    let sets = [
        (L1 - 1, L1 + 2),
        (0, L1 * 3),
        (L2, L1),
        (L2, L3 - L2 + 1),
        (L3 - 1, L2),
    ];
    for (first, count) in sets {
        pair.set(first, count);
        pair.reset_all();
        assert!(pair.map.is_clean());
    }
    pair.check_all();
}

/// `/hbitmap/granularity`
#[test]
fn granularity() {
    let mut pair = Pair::of(L1, 1);
    pair.set(0, 1);
    assert_eq!(pair.map.count(), 2);
    pair.set(2, 1);
    assert_eq!(pair.map.count(), 4);
    pair.set(0, 3);
    assert_eq!(pair.map.count(), 4);
    pair.reset(0, 2);
    assert_eq!(pair.map.count(), 2);
}

/// The bits around both sizes, before and after.
fn truncated(before: u64, after: u64, granularity: u32) -> Pair {
    let mut pair = Pair::of(before, granularity);
    let edge = before.min(after);
    let granule = 1 << granularity;
    for at in [0, L1, edge - L1, edge - granule, edge.max(before) - 1] {
        pair.set(at.min(before - 1) / granule * granule, 1);
    }
    let kept: Vec<u64> = pair
        .granules(0)
        .into_iter()
        .filter(|&at| at < after)
        .collect();
    pair.map.truncate(after).expect("a size that there is");
    assert_eq!(pair.map.granules(0).collect::<Vec<_>>(), kept);
    assert_eq!(pair.map.count(), kept.len() as u64 * granule);
    assert_eq!(pair.map.size(), after);
    for at in before..after.next_multiple_of(granule) {
        let is_rest = at < before.next_multiple_of(granule);
        assert!(is_rest || !pair.map.get(at), "new at {at}");
    }
    pair
}

/// `/hbitmap/truncate/grow/negligible`
#[test]
fn truncate_grow_negligible() {
    let pair = truncated(L2 - 1, L2, 1);
    assert!(pair.map.get(L2 - 2) && pair.map.get(L2 - 1), "one granule");
}

/// `/hbitmap/truncate/shrink/negligible`
#[test]
fn truncate_shrink_negligible() {
    let mut pair = Pair::of(L2, 1);
    pair.set(0, 1);
    pair.set(L2 - 2, 1);
    let count = pair.map.count();
    pair.map.truncate(L2 - 1).expect("shorter");
    assert_eq!(pair.map.count(), count, "no granule has gone");
    assert!(pair.map.get(L2 - 2));
}

/// `/hbitmap/truncate/shrink/tiny`
#[test]
fn truncate_shrink_tiny() {
    let mut pair = Pair::of(L2 - 1, 1);
    pair.set(0, 1);
    pair.set(L2 - 4, 3);
    assert_eq!(pair.map.count(), 6);
    pair.map.truncate(L2 - 2).expect("shorter");
    assert_eq!(pair.map.count(), 4, "the last granule has gone");
    assert_eq!(pair.map.granules(0).collect::<Vec<_>>(), [0, L2 - 4]);
}

/// `/hbitmap/truncate/grow/small`
#[test]
fn truncate_grow_small() {
    truncated(L2 + 1, L2 + 1 + L1 / 2, 0);
}

/// `/hbitmap/truncate/grow/medium`
#[test]
fn truncate_grow_medium() {
    truncated(L2 - 1, L2 - 1 + L1 / 2, 0);
}

/// `/hbitmap/truncate/shrink/medium`
#[test]
fn truncate_shrink_medium() {
    truncated(L2 + 1, L2 + 1 - L1 / 2, 0);
}

/// `/hbitmap/truncate/shrink/large`
#[test]
fn truncate_shrink_large() {
    truncated(L2, L2 - L1 * 8, 0);
}

/// `/hbitmap/serialize/align`
#[test]
fn serialize_align() {
    let pair = Pair::of(L3 * 2, 3);
    assert!(pair.map.is_serializable());
    assert_eq!(pair.map.serialization_alignment(), Ok(64 << 3));
}

/// The bits of a part when serialised.
fn serialized(map: &HBitmap, part: Range<u64>) -> Vec<u64> {
    let size = map.serialization_size(part.clone()).expect("aligned");
    let mut bytes = vec![0xaa; size as usize];
    map.serialize_part(part.clone(), &mut bytes)
        .expect("serialised");
    let bits = (0..size * 8).filter(|bit| bytes[(bit / 8) as usize] >> (bit % 8) & 1 == 1);
    bits.map(|bit| part.start + bit).collect()
}

/// `/hbitmap/serialize/part`
#[test]
fn serialize_part() {
    let positions = [0, 1, L1 - 1, L1, L2 - 1, L2, L2 + 1, L3 - 1];
    let mut pair = Pair::of(L3, 0);
    for at in positions {
        pair.set(at, 1);
    }
    let mut copy = HBitmap::new(L3, 0).expect("a size that there is");
    copy.set(0..L3);
    for start in (0..L3).step_by(L2 as usize) {
        let part = start..start + L2;
        let bits = serialized(&pair.map, part.clone());
        let inside = positions.into_iter().filter(|at| part.contains(at));
        assert_eq!(bits, inside.collect::<Vec<_>>());
        let mut bytes = vec![0; (L2 / 8) as usize];
        pair.map
            .serialize_part(part.clone(), &mut bytes)
            .expect("serialised");
        copy.deserialize_part(part, &bytes).expect("read again");
    }
    assert_eq!(copy.granules(0).collect::<Vec<_>>(), positions);
    assert_eq!(copy.count(), pair.map.count());
}

/// `/hbitmap/serialize/zeroes`
#[test]
fn serialize_zeroes() {
    let positions = [0, L1 * 2, L2 + L1 * 3, L3 - L1];
    let mut pair = Pair::of(L3, 0);
    let word = pair.map.serialization_alignment().expect("fine enough");
    for at in positions {
        pair.set(at, L1);
    }
    for (index, at) in positions.into_iter().enumerate() {
        pair.map.deserialize_zeroes(at..at + word).expect("a word");
        let next = positions.get(index + 1).copied();
        assert_eq!(pair.map.granules(0).next(), next);
    }
    assert!(pair.map.is_clean());
}

fn next_x(granularity: u32) {
    let mut pair = Pair::of(L3, granularity);
    pair.check_next_from_everywhere();
    let granule = 1 << granularity;
    for (first, count) in [(L2, L1), (L1 + 5, 1), (L2 * 2 - 1, L1 * 2), (L3 - 1, 1)] {
        pair.map.set(first..first + count);
        let granules = pair.whole_granules(first..first + count);
        pair.shadow[granules].fill(true);
        pair.check_next_from_everywhere();
    }
    for at in [L2, L2 + L1 - granule] {
        pair.reset(at, granule);
        pair.check_next_from_everywhere();
    }
    pair.set(0, L3);
    pair.check_next_from_everywhere();
    assert_eq!(pair.map.next_clean(0..u64::MAX), None);
    pair.reset_all();
    assert_eq!(pair.map.next_dirty(0..u64::MAX), None);
}

/// `/hbitmap/next_zero/next_x_0`
#[test]
fn next_zero_next_x_0() {
    next_x(0);
}

/// `/hbitmap/next_zero/next_x_4`
#[test]
fn next_zero_next_x_4() {
    next_x(4);
}

fn next_dirty_area(granularity: u32) {
    let mut pair = Pair::of(L3, granularity);
    pair.check_areas();
    for (first, count) in [(L1 + 5, 1), (L1 + 6, 1), (L2 - 1, L1), (L2 * 2, L2 + 1)] {
        pair.set(first, count);
        pair.check_areas();
        pair.check_area(first, first + count, count);
        pair.check_area(first, first + count + 1, count - 1);
        pair.check_area(first - 1, first + 1, u64::MAX);
    }
    pair.set(0, L3);
    pair.check_areas();
}

/// `/hbitmap/next_dirty_area/next_dirty_area_0`
#[test]
fn next_dirty_area_next_dirty_area_0() {
    next_dirty_area(0);
}

/// `/hbitmap/next_dirty_area/next_dirty_area_1`
#[test]
fn next_dirty_area_next_dirty_area_1() {
    next_dirty_area(1);
}

/// `/hbitmap/next_dirty_area/next_dirty_area_after_truncate`
#[test]
fn next_dirty_area_next_dirty_area_after_truncate() {
    let mut pair = Pair::of(L1, 0);
    pair.truncate(L1 * 2);
    pair.set(L1 + 1, 1);
    assert_eq!(
        pair.map.next_dirty_area(0..u64::MAX, u64::MAX),
        Some(L1 + 1..L1 + 2)
    );
    pair.check_areas_small();
}
