//! How often each cluster is used, as it is counted.
//!
//! Counts are kept as a refcount block keeps them, a block a piece: what is
//! right is found so by comparing bytes, and what has to be made anew is
//! there already. Only pieces in which something is counted take memory.

use std::collections::BTreeMap;

use crate::format::refcount::Counts;
use crate::geometry::Geometry;

/// What is counted.
pub(super) struct Uses {
    counts: Counts,
    bits: u32,
    bytes: usize,
    /// How many clusters there are.
    pub clusters: u64,
    /// Where in `pieces` a piece is.
    places: BTreeMap<u64, usize>,
    pieces: Vec<Box<[u8]>>,
    /// The piece that was asked for last, and its place.
    last: (u64, usize),
}

impl Uses {
    pub fn new(geometry: &Geometry, clusters: u64) -> Uses {
        Uses {
            counts: geometry.counts,
            bits: geometry.block_bits,
            bytes: geometry.cluster_size() as usize,
            clusters,
            places: BTreeMap::new(),
            pieces: Vec::new(),
            last: (u64::MAX, 0),
        }
    }

    /// Nothing is counted any more.
    pub fn clear(&mut self) {
        self.places.clear();
        self.pieces.clear();
        self.last = (u64::MAX, 0);
    }

    fn place(&self, index: u64) -> Option<usize> {
        match self.last.0 == index {
            true => Some(self.last.1),
            false => self.places.get(&index).copied(),
        }
    }

    fn at(&self, cluster: u64) -> (u64, usize) {
        let within = cluster & ((1 << self.bits) - 1);
        (cluster >> self.bits, within as usize)
    }

    /// Counts one use more. Says how many there are now, `None` if that cannot
    /// be counted.
    #[inline]
    pub fn add(&mut self, cluster: u64) -> Option<u64> {
        let (index, at) = self.at(cluster);
        if self.last.0 != index {
            self.find(index);
        }
        let piece = &mut self.pieces[self.last.1];
        let count = self.counts.get(piece, at);
        if count == self.counts.max() {
            return None;
        }
        self.counts.set(piece, at, count + 1);
        self.clusters = self.clusters.max(cluster + 1);
        Some(count + 1)
    }

    /// Takes the only use of a cluster away.
    pub fn forget(&mut self, cluster: u64) {
        let (index, at) = self.at(cluster);
        if let Some(place) = self.place(index) {
            self.counts.set(&mut self.pieces[place], at, 0);
        }
    }

    /// Makes a piece the last one.
    fn find(&mut self, index: u64) {
        let (pieces, bytes) = (&mut self.pieces, self.bytes);
        let place = *self.places.entry(index).or_insert_with(|| {
            pieces.push(vec![0; bytes].into_boxed_slice());
            pieces.len() - 1
        });
        self.last = (index, place);
    }

    /// How often a cluster is used.
    #[inline]
    pub fn get(&self, cluster: u64) -> u64 {
        let (index, at) = self.at(cluster);
        self.piece(index)
            .map_or(0, |piece| self.counts.get(piece, at))
    }

    /// As [`get`](Uses::get), and quick for those beside it next time.
    #[inline]
    pub fn get_near(&mut self, cluster: u64) -> u64 {
        let (index, at) = self.at(cluster);
        if self.last.0 != index {
            let Some(place) = self.places.get(&index) else {
                return 0;
            };
            self.last = (index, *place);
        }
        self.counts.get(&self.pieces[self.last.1], at)
    }

    /// What a refcount block would have. `None` for zeroes only.
    #[inline]
    pub fn piece(&self, index: u64) -> Option<&[u8]> {
        self.place(index).map(|place| &*self.pieces[place])
    }

    /// As [`piece`](Uses::piece), and quick to find next time.
    pub fn look(&mut self, index: u64) -> Option<&[u8]> {
        let place = self.place(index)?;
        self.last = (index, place);
        Some(&self.pieces[place])
    }

    /// The first piece from `index` on in which something is counted.
    pub fn next(&self, index: u64) -> Option<u64> {
        self.places.range(index..).next().map(|(index, _)| *index)
    }

    /// The first cluster from `cluster` on that is used, among those before
    /// `end`.
    pub fn next_used(&self, mut cluster: u64, end: u64) -> Option<u64> {
        while cluster < end {
            let (index, at) = self.at(cluster);
            let piece = self.next(index)?;
            let from = if piece == index { at } else { 0 };
            let bytes = self.piece(piece).unwrap_or_default();
            let per_piece = 1usize << self.bits;
            let used = (from..per_piece).find(|at| self.counts.get(bytes, *at) > 0);
            if let Some(at) = used {
                let found = (piece << self.bits) + at as u64;
                return (found < end).then_some(found);
            }
            cluster = (piece + 1) << self.bits;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::header::Header;
    use proptest::prelude::*;

    fn uses(order: u32) -> Uses {
        Uses::new(&Geometry::of(&Header::new(3, 9, order)), 100)
    }

    proptest! {
        #[test]
        fn uses_are_those_of_a_map(
            order in 0u32..=6,
            clusters in proptest::collection::vec(0u64..3000, 0..200),
            from in 0u64..3000,
        ) {
            let mut uses = uses(order);
            let most = uses.counts.max();
            let mut model: BTreeMap<u64, u64> = BTreeMap::new();
            for cluster in clusters {
                let count = model.entry(cluster).or_default();
                let expected = (*count < most).then_some(*count + 1);
                prop_assert_eq!(uses.add(cluster), expected);
                *count = expected.unwrap_or(*count);
            }
            for cluster in 0..3000 {
                let expected = model.get(&cluster).copied().unwrap_or(0);
                prop_assert_eq!(uses.get(cluster), expected);
            }
            let next = model.range(from..2500.max(from)).next().map(|(cluster, _)| *cluster);
            prop_assert_eq!(uses.next_used(from, 2500), next);
            let last = model.keys().next_back().map_or(100, |last| (last + 1).max(100));
            prop_assert_eq!(uses.clusters, last);
        }
    }

    #[test]
    fn what_was_taken_away_is_not_used() {
        let mut uses = uses(4);
        uses.add(7);
        uses.add(3000);
        uses.forget(7);
        assert_eq!(uses.next_used(0, 4000), Some(3000));
        assert_eq!(uses.next_used(0, 3000), None);
        uses.clear();
        assert_eq!((uses.get(3000), uses.next(0)), (0, None));
    }
}
