//! Bitmaps against a plain shadow.

use proptest::prelude::*;

use super::*;

/// One `bool` a byte.
#[derive(Clone, Debug)]
struct Shadow {
    dirty: Vec<bool>,
    granularity: u64,
}

impl Shadow {
    fn granule_of(&self, at: u64) -> Range<usize> {
        let start = at / self.granularity * self.granularity;
        let end = (start + self.granularity).min(self.dirty.len() as u64);
        start as usize..end as usize
    }

    fn set(&mut self, range: Range<u64>) {
        for at in range.start..range.end.min(self.dirty.len() as u64) {
            let granule = self.granule_of(at);
            self.dirty[granule].fill(true);
        }
    }

    fn reset(&mut self, range: Range<u64>) {
        for at in range.start..range.end.min(self.dirty.len() as u64) {
            let granule = self.granule_of(at);
            if granule.start as u64 >= range.start && granule.end as u64 <= range.end {
                self.dirty[granule].fill(false);
            }
        }
    }

    fn truncate(&mut self, size: u64) {
        let before = self.dirty.len() as u64;
        let last = self.dirty.last().copied().unwrap_or(false);
        self.dirty.resize(size as usize, false);
        if last && size > before {
            let granule = self.granule_of(before - 1);
            self.dirty[granule].fill(true);
        }
    }

    fn count(&self) -> u64 {
        let starts = (0..self.dirty.len()).step_by(self.granularity as usize);
        starts.filter(|&at| self.dirty[at]).count() as u64 * self.granularity
    }

    fn next(&self, range: Range<u64>, dirty: bool) -> Option<u64> {
        let mut bytes = range.start..range.end.min(self.dirty.len() as u64);
        bytes.find(|&at| self.dirty[at as usize] == dirty)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Set(Range<u64>),
    Reset(Range<u64>),
    ResetAll,
    Truncate(u64),
    MergeShifted(u64),
    Reload(u64),
}

/// Some levels up: a leaf has 4096 bits.
const MOST: u64 = 40_000;

fn range() -> impl Strategy<Value = Range<u64>> {
    let near = (0..MOST, 0..300u64).prop_map(|(start, bytes)| start..start + bytes);
    let far = (0..MOST, 0..MOST).prop_map(|(start, bytes)| start..start + bytes);
    let words = (0..MOST / 64, 0..200u64).prop_map(|(start, n)| start * 64..(start + n) * 64);
    prop_oneof![near, far, words]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => range().prop_map(Step::Set),
        4 => range().prop_map(Step::Reset),
        1 => Just(Step::ResetAll),
        1 => (0..MOST).prop_map(Step::Truncate),
        1 => (0..5u64).prop_map(Step::MergeShifted),
        1 => (1..9u64).prop_map(Step::Reload),
    ]
}

fn compare(map: &HBitmap, shadow: &Shadow, probes: &[Range<u64>]) {
    map.check();
    assert_eq!(map.size(), shadow.dirty.len() as u64);
    assert_eq!(map.count(), shadow.count());
    assert_eq!(map.is_clean(), shadow.count() == 0);
    for at in 0..map.size() {
        assert_eq!(map.get(at), shadow.dirty[at as usize], "at {at}");
    }
    assert!(!map.get(map.size()) && !map.get(u64::MAX));
    for probe in probes {
        assert_eq!(
            map.next_dirty(probe.clone()),
            shadow.next(probe.clone(), true)
        );
        assert_eq!(
            map.next_clean(probe.clone()),
            shadow.next(probe.clone(), false)
        );
        let area = shadow.next(probe.clone(), true).map(|start| {
            let end = probe.end.min(map.size()).min(start + 100);
            start..shadow.next(start..end, false).unwrap_or(end)
        });
        assert_eq!(map.next_dirty_area(probe.clone(), 100), area);
        let status = (probe.start < probe.end.min(map.size())).then(|| {
            let dirty = shadow.dirty[probe.start as usize];
            let end = shadow.next(probe.clone(), !dirty);
            (dirty, probe.start..end.unwrap_or(probe.end.min(map.size())))
        });
        assert_eq!(map.status(probe.clone()), status);
        let first = probe.start / shadow.granularity * shadow.granularity;
        let granules = (first..map.size()).step_by(shadow.granularity as usize);
        let granules: Vec<u64> = granules.filter(|&at| shadow.dirty[at as usize]).collect();
        assert_eq!(map.granules(probe.start).collect::<Vec<_>>(), granules);
    }
}

/// The bitmap again, in parts of so many words.
fn reloaded(map: &HBitmap, words: u64) -> HBitmap {
    let part = map.serialization_alignment().expect("fine enough") * words;
    let mut copy = HBitmap::new(map.size(), map.granularity_bits()).expect("as large");
    copy.set(0..u64::MAX);
    for start in (0..map.size()).step_by(part as usize) {
        let range = start..map.size().min(start + part);
        let size = map.serialization_size(range.clone()).expect("aligned");
        let mut bytes = vec![0xff; size as usize];
        map.serialize_part(range.clone(), &mut bytes)
            .expect("written");
        copy.deserialize_part(range, &bytes).expect("read");
    }
    copy
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_is_what_a_plain_shadow_is(
        size in 0..MOST,
        granularity in 0..7u32,
        steps in prop::collection::vec(step(), 1..20),
        probes in prop::collection::vec(range(), 4),
    ) {
        let mut map = HBitmap::new(size, granularity).expect("small");
        let mut shadow = Shadow { dirty: vec![false; size as usize], granularity: 1 << granularity };
        let mut kept: Option<(HBitmap, Shadow)> = None;
        for step in steps {
            match step {
                Step::Set(range) => { map.set(range.clone()); shadow.set(range); }
                Step::Reset(range) => { map.reset(range.clone()); shadow.reset(range); }
                Step::ResetAll => { map.reset_all(); shadow.dirty.fill(false); }
                Step::Truncate(size) => {
                    map.truncate(size).expect("small");
                    shadow.truncate(size);
                }
                Step::MergeShifted(finer) => {
                    let mut other = HBitmap::new(map.size(), finer as u32).expect("small");
                    for start in (0..map.size()).step_by(1777) {
                        other.set(start..start + 3);
                    }
                    let areas: Vec<_> = other.areas(0..u64::MAX).collect();
                    map.merge(&other).expect("as large");
                    areas.into_iter().for_each(|area| shadow.set(area));
                }
                Step::Reload(words) => map = reloaded(&map, words),
            }
            if kept.is_none() {
                kept = Some((map.clone(), shadow.clone()));
            }
        }
        compare(&map, &shadow, &probes);
        // A copy does not see what happened to the other.
        let (map, shadow) = kept.expect("there was a step");
        compare(&map, &shadow, &probes);
    }

    #[test]
    fn a_union_has_what_either_has(
        size in 1..MOST,
        mine in prop::collection::vec(range(), 0..8),
        others in prop::collection::vec(range(), 0..8),
        granularity in 0..3u32,
    ) {
        let fill = |ranges: &[Range<u64>]| {
            let mut map = HBitmap::new(size, granularity).expect("small");
            ranges.iter().for_each(|range| map.set(range.clone()));
            map
        };
        let (mut map, other) = (fill(&mine), fill(&others));
        map.merge(&other).expect("as large");
        map.check();
        let both: Vec<_> = mine.into_iter().chain(others).collect();
        let expected = fill(&both);
        prop_assert_eq!(map.count(), expected.count());
        let areas = |map: &HBitmap| map.areas(0..size).collect::<Vec<_>>();
        prop_assert_eq!(areas(&map), areas(&expected));
    }
}

#[test]
fn the_largest_node_has_a_bitmap() {
    for granularity in [0, 9, 16, 31, MAX_GRANULARITY_BITS] {
        let mut map = HBitmap::new(MAX_LENGTH, granularity).expect("no memory is needed");
        map.set(0..MAX_LENGTH);
        map.check();
        let granule = map.granularity();
        let all = MAX_LENGTH.div_ceil(granule) * granule;
        assert_eq!(map.count(), all);
        assert_eq!(map.next_clean(0..u64::MAX), None);
        map.reset(0..MAX_LENGTH);
        assert!(map.is_clean());
        map.set(MAX_LENGTH - 1..u64::MAX);
        map.set(MAX_LENGTH / 2..MAX_LENGTH / 2 + 1);
        map.check();
        assert_eq!(map.granules(0).count() as u64, map.count() / granule);
        let last = (MAX_LENGTH - 1) / granule * granule;
        assert_eq!(map.granules(last).next(), Some(last));
        assert_eq!(map.next_dirty(last..u64::MAX), Some(last));
        map.truncate(1).expect("shorter");
        map.check();
        map.truncate(MAX_LENGTH).expect("longer");
        map.check();
    }
}

#[test]
fn what_no_bitmap_can_be_is_refused() {
    let too_large = HBitmap::new(MAX_LENGTH + 1, 9).unwrap_err();
    assert_eq!(too_large, MapError::TooLarge(MAX_LENGTH + 1));
    assert_eq!(HBitmap::new(0, 63).unwrap_err(), MapError::Granularity(63));
    let mut map = HBitmap::new(100, 0).expect("small");
    map.set(99..100);
    assert!(map.truncate(u64::MAX).is_err());
    let other = HBitmap::new(99, 0).expect("small");
    assert_eq!(
        map.merge(&other).unwrap_err().to_string(),
        "Bitmaps are of different sizes (destination size is 100, source size is 99) and can't be \
         merged"
    );
    assert_eq!(map.count(), 1);
}

#[test]
fn parts_are_of_whole_words() {
    let mut map = HBitmap::new(1000, 1).expect("small");
    let unaligned = |outcome: Result<u64, MapError>| {
        assert!(
            matches!(outcome, Err(MapError::Unaligned { .. })),
            "{outcome:?}"
        );
    };
    unaligned(map.serialization_size(1..128));
    unaligned(map.serialization_size(0..100));
    unaligned(map.serialization_size(0..1024));
    assert_eq!(map.serialization_size(0..0), Ok(0));
    assert_eq!(map.serialization_size(0..1000), Ok(64));
    assert_eq!(map.serialization_size(896..1000), Ok(8));
    let short = map.serialize_part(0..1000, &mut [0; 63]).unwrap_err();
    assert_eq!(
        short.to_string(),
        "The part takes 64 bytes, and the buffer has 63"
    );
    // What the bytes say of granules that there are not is ignored.
    map.deserialize_part(896..1000, &[0xff; 8]).expect("read");
    map.check();
    assert_eq!(map.count(), 104);
    assert!(map.deserialize_zeroes(5..6).is_err());
    map.deserialize_ones(0..128).expect("set");
    map.deserialize_zeroes(896..1000).expect("reset");
    assert_eq!(map.count(), 128);
    let coarse = HBitmap::new(1000, 58).expect("possible");
    assert!(!coarse.is_serializable());
    assert_eq!(
        coarse.serialization_alignment(),
        Err(MapError::NotSerializable(58))
    );
}
