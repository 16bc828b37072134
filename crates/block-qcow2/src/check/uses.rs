//! How often each cluster is used, as it is counted.
//!
//! Counts are kept as a refcount block keeps them, a block a piece: what is
//! right is found so by comparing bytes, and what has to be made anew is
//! there already. Only pieces in which something is counted take memory.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::format::refcount::Counts;
use crate::geometry::Geometry;

/// What is counted.
pub(super) struct Uses {
    counts: Counts,
    bits: u32,
    bytes: usize,
    /// Counts have 16 bits.
    is_usual: bool,
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
            is_usual: geometry.counts.max() == u64::from(u16::MAX),
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

    /// Counts one use more of each of these clusters. Says at which of them
    /// that cannot be counted; those before it are.
    pub fn add_all(&mut self, clusters: Range<u64>) -> Option<u64> {
        let mut next = clusters.start;
        while next < clusters.end {
            let (index, at) = self.at(next);
            if !self.is_usual {
                if self.add(next).is_none() {
                    return Some(next);
                }
                next += 1;
                continue;
            }
            if self.last.0 != index {
                self.find(index);
            }
            let room = (1 << self.bits) - at as u64;
            let count = room.min(clusters.end - next) as usize;
            let counts = &mut self.pieces[self.last.1][at * 2..][..count * 2];
            for (more, bytes) in counts.chunks_exact_mut(2).enumerate() {
                let count = u16::from_be_bytes([bytes[0], bytes[1]]);
                if count == u16::MAX {
                    let full = next + more as u64;
                    self.clusters = self.clusters.max(full + 1);
                    return Some(full);
                }
                bytes.copy_from_slice(&(count + 1).to_be_bytes());
            }
            next += count as u64;
        }
        self.clusters = self.clusters.max(clusters.end);
        None
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

    /// Whether each of these clusters is used once.
    pub fn are_one(&self, clusters: Range<u64>) -> bool {
        let mut next = clusters.start;
        while next < clusters.end {
            let (index, at) = self.at(next);
            let room = (1 << self.bits) - at as u64;
            let count = room.min(clusters.end - next) as usize;
            let Some(piece) = self.piece(index) else {
                return false;
            };
            let is_one = match self.is_usual {
                true => {
                    let counts = &piece[at * 2..][..count * 2];
                    let mut counts = counts.chunks_exact(2);
                    counts.all(|count| count == 1u16.to_be_bytes())
                }
                false => (at..at + count).all(|at| self.counts.get(piece, at) == 1),
            };
            if !is_one {
                return false;
            }
            next += count as u64;
        }
        true
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
        let piece = &self.pieces[self.last.1];
        match self.is_usual {
            true => u64::from(u16::from_be_bytes([piece[at * 2], piece[at * 2 + 1]])),
            false => self.counts.get(piece, at),
        }
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
            let ones = |clusters: Range<u64>| {
                let mut clusters = clusters;
                clusters.all(|cluster| model.get(&cluster) == Some(&1))
            };
            for length in 1..4 {
                prop_assert_eq!(uses.are_one(from..from + length), ones(from..from + length));
            }
            let next = model.range(from..2500.max(from)).next().map(|(cluster, _)| *cluster);
            prop_assert_eq!(uses.next_used(from, 2500), next);
            let last = model.keys().next_back().map_or(100, |last| (last + 1).max(100));
            prop_assert_eq!(uses.clusters, last);
        }
    }

    #[test]
    fn rows_are_counted_up_to_what_is_full() {
        for order in [1, 4, 6] {
            let mut uses = uses(order);
            let most = uses.counts.max().min(70_000);
            for _ in 0..most {
                uses.add(300);
            }
            let full = uses.counts.max() == most;
            let stopped = uses.add_all(250..600);
            assert_eq!(stopped, full.then_some(300));
            assert_eq!((uses.get(249), uses.get(250), uses.get(299)), (0, 1, 1));
            assert_eq!(uses.get(599), u64::from(!full));
            assert_eq!(uses.clusters, if full { 301 } else { 600 });
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
