//! Reference counts in memory: what is free, and what was changed.
//!
//! Nothing here waits. A function that needs a block of counts which is not in
//! memory says so with a [`Need`], and is called again when it is.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use block_common::IoError;
use block_common::error::errno;

use crate::dirty::Dirty;
use crate::format::Limits;
use crate::format::entry::OFFSET;
use crate::format::refcount::Counts;
use crate::geometry::Geometry;
use crate::overlap::Filter;

/// What has to be done before a function can go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Need {
    /// Read this block of counts.
    Block(u64),
    /// Make the table reach this block.
    Table(u64),
    /// There is no such block, and what it would count is in use: nothing can
    /// be done.
    Nothing(u64),
}

/// A block of counts in memory.
#[derive(Debug)]
pub(crate) struct Block {
    pub data: Vec<u8>,
    pub dirty: Dirty,
    /// What was dirty is being stored.
    pub writing: bool,
    used: u64,
}

impl Block {
    /// Whether it can be read again, as it is.
    fn may_go(&self) -> bool {
        self.dirty.is_clean() && !self.writing
    }
}

/// The counts.
#[derive(Debug)]
pub(crate) struct Refs {
    geometry: Geometry,
    /// Where the blocks are, 0 for nowhere.
    pub table: Vec<u64>,
    /// Where the stored table is.
    pub stored: Range<u64>,
    /// Entries of the table that are not stored yet.
    pub table_dirty: BTreeSet<u64>,
    pub blocks: BTreeMap<u64, Block>,
    /// How many blocks are kept.
    capacity: usize,
    /// How many a search that goes on needs at once.
    needed: usize,
    clock: u64,
    /// The clock when blocks that were not used were last let go.
    cleaned: u64,
    /// No cluster before this one is free.
    hint: u64,
    /// How far a search for clusters in a row has come.
    searched: Searched,
    /// From this cluster on the file reads as zeroes: nobody has ever written
    /// there.
    pub fresh: u64,
    /// Where the next compressed cluster goes: a byte of the file behind the
    /// last one, in the same cluster.
    compressed_end: Option<u64>,
    /// Where metadata may be.
    pub filter: Filter,
    /// The table is longer than the stored one, and will be stored here.
    pub moved: Option<NewTable>,
    /// Where it was to be before; free when it is stored.
    pub passed_over: Vec<Range<u64>>,
}

impl Refs {
    pub fn new(
        geometry: Geometry,
        table: Vec<u64>,
        stored: Range<u64>,
        capacity: usize,
        file_length: u64,
    ) -> Refs {
        Refs {
            geometry,
            table,
            stored,
            table_dirty: BTreeSet::new(),
            blocks: BTreeMap::new(),
            capacity,
            needed: 0,
            clock: 0,
            cleaned: 0,
            hint: 0,
            searched: Searched::default(),
            fresh: geometry.clusters_of(file_length),
            compressed_end: None,
            filter: Filter::new(),
            moved: None,
            passed_over: Vec::new(),
        }
    }

    /// How many clusters a block counts, as a power of two.
    pub fn block_bits(&self) -> u32 {
        self.geometry.block_bits
    }

    /// Goes on with counts of another width, which are stored already.
    pub fn replace(&mut self, counts: Counts, table: Vec<u64>, stored: Range<u64>) {
        self.set_counts(counts);
        self.table = table;
        self.stored = stored;
        self.table_dirty.clear();
        self.blocks.clear();
        self.moved = None;
        self.passed_over.clear();
        self.hint = 0;
        self.searched = Searched::default();
    }

    /// Reads counts as `counts` says. Only when no block is in memory.
    pub fn set_counts(&mut self, counts: Counts) {
        self.geometry.counts = counts;
        let per_block = counts.per(self.geometry.cluster_size());
        self.geometry.block_bits = per_block.ilog2();
    }

    /// Shows each cluster that a block counts, and how often it is used.
    pub fn each(&mut self, index: u64, mut each: impl FnMut(u64, u64)) -> Result<(), Need> {
        if self.block_offset(index) == 0 {
            return Ok(());
        }
        let counts = self.geometry.counts;
        let first = index << self.geometry.block_bits;
        let block = self.block(index)?;
        for at in 0..counts.per(block.data.len() as u64) {
            let count = counts.get(&block.data, at as usize);
            if count != 0 {
                each(first + at, count);
            }
        }
        Ok(())
    }

    /// Takes over what is stored now.
    pub fn reload(&mut self, table: Vec<u64>, stored: Range<u64>, file_length: u64) {
        self.forget();
        self.table = table;
        self.stored = stored;
        self.moved = None;
        self.passed_over.clear();
        self.fresh = self.geometry.clusters_of(file_length);
    }

    /// Makes the table as long as the stored one, for an image that only read
    /// and kept what is not zero.
    pub fn reach_stored(&mut self) {
        let clusters = self.stored.end - self.stored.start;
        let words = (clusters << self.geometry.cluster_bits) / 8;
        let words = words.min(Limits::REFCOUNT_TABLE_BYTES / 8) as usize;
        if self.moved.is_none() && self.table.len() < words {
            self.table.resize(words, 0);
        }
    }

    /// Forgets everything that was read.
    pub fn forget(&mut self) {
        self.blocks.clear();
        self.table_dirty.clear();
        self.compressed_end = None;
        self.hint = 0;
        self.searched = Searched::default();
    }

    /// How many blocks are kept from now on.
    pub fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
        self.trim();
    }

    /// How many blocks may be kept.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether so many blocks were made and not stored that they should be.
    pub fn is_overfull(&self) -> bool {
        self.blocks.len() > self.most().saturating_mul(2)
    }

    fn most(&self) -> usize {
        self.capacity.max(self.needed)
    }

    /// Lets blocks go that are more than are kept and need not be stored: new
    /// ones come without asking.
    pub fn trim(&mut self) {
        let Some(surplus) = self.blocks.len().checked_sub(self.most()) else {
            return;
        };
        if surplus == 0 {
            return;
        }
        let may_go = self.blocks.iter().filter(|(_, block)| block.may_go());
        let mut may_go: Vec<(u64, u64)> =
            may_go.map(|(index, block)| (block.used, *index)).collect();
        may_go.sort_unstable();
        for (_, index) in may_go.into_iter().take(surplus) {
            self.blocks.remove(&index);
        }
    }

    /// Lets blocks go that were not used since this was last called and need
    /// not be stored.
    pub fn clean(&mut self) {
        let since = std::mem::replace(&mut self.cleaned, self.clock);
        self.blocks
            .retain(|_, block| block.used > since || !block.may_go());
    }

    /// Whether something of it is not stored.
    pub fn is_dirty(&self) -> bool {
        !self.table_dirty.is_empty()
            || self.moved.is_some()
            || self
                .blocks
                .values()
                .any(|block| !block.dirty.is_clean() || block.writing)
    }

    /// Which block counts a cluster, and where in it.
    fn place(&self, cluster: u64) -> (u64, usize) {
        let bits = self.geometry.block_bits;
        (cluster >> bits, (cluster & ((1 << bits) - 1)) as usize)
    }

    /// Where a block is, 0 for nowhere.
    pub fn block_offset(&self, block: u64) -> u64 {
        self.table
            .get(block as usize)
            .map_or(0, |entry| entry & OFFSET)
    }

    /// Those of some blocks whose own clusters are counted without the others:
    /// one that is found although what counts it is not would be given out.
    pub fn counted_without(&self, blocks: &BTreeSet<u64>) -> BTreeSet<u64> {
        let is_counted = |index: &u64| {
            let (by, _) = self.place(self.block_offset(*index) >> self.geometry.cluster_bits);
            by == *index || !blocks.contains(&by)
        };
        let counted: BTreeSet<u64> = blocks.iter().copied().filter(is_counted).collect();
        match counted.is_empty() {
            // They count each other, in an image that is damaged.
            true => blocks.clone(),
            false => counted,
        }
    }

    /// The block, which has been used just now.
    fn block(&mut self, index: u64) -> Result<&mut Block, Need> {
        self.clock += 1;
        let block = self.blocks.get_mut(&index).ok_or(Need::Block(index))?;
        block.used = self.clock;
        Ok(block)
    }

    /// How often a cluster is used.
    pub fn get(&mut self, cluster: u64) -> Result<u64, Need> {
        let (index, at) = self.place(cluster);
        if self.block_offset(index) == 0 {
            return Ok(0);
        }
        let counts = self.geometry.counts;
        Ok(counts.get(&self.block(index)?.data, at))
    }

    /// Sets the count of a cluster that a block counts.
    pub fn set(&mut self, cluster: u64, count: u64) -> Result<(), Need> {
        let (index, at) = self.place(cluster);
        if self.block_offset(index) == 0 {
            return Err(Need::Nothing(index));
        }
        let counts = self.geometry.counts;
        let block = self.block(index)?;
        counts.set(&mut block.data, at, count);
        let length = block.data.len();
        block.dirty.note(counts.byte_of(at), length);
        if count == 0 {
            self.hint = self.hint.min(cluster);
            self.searched.forget_row_of(cluster);
            let bits = self.geometry.cluster_bits;
            self.compressed_end.take_if(|end| *end >> bits == cluster);
        }
        Ok(())
    }

    /// Takes bytes for a compressed cluster, behind those of the one before or
    /// at the beginning of a cluster, which is used once more. Says where they
    /// begin.
    pub fn claim_bytes(&mut self, bytes: u64) -> Result<u64, Need> {
        let bits = self.geometry.cluster_bits;
        if let Some(start) = self.compressed_end {
            let cluster = start >> bits;
            let count = self.get(cluster)?;
            let room = ((cluster + 1) << bits) - start;
            if bytes <= room && count < self.geometry.counts.max() {
                self.set(cluster, count + 1)?;
                self.compressed_end = (bytes < room).then_some(start + bytes);
                return Ok(start);
            }
        }
        let start = self.claim(1, true)?.clusters.start << bits;
        self.compressed_end = (bytes < 1 << bits).then_some(start + bytes);
        Ok(start)
    }

    /// The count of the first of these clusters, and the first that has
    /// another one or is counted by another block.
    pub fn same(&mut self, clusters: Range<u64>) -> Result<(u64, u64), Need> {
        let count = self.get(clusters.start)?;
        let per_block = 1u64 << self.geometry.block_bits;
        let most = clusters.end.min((clusters.start | (per_block - 1)) + 1);
        let mut end = clusters.start + 1;
        while end < most && self.get(end)? == count {
            end += 1;
        }
        Ok((end, count))
    }

    /// Takes a use away from clusters that one block counts.
    pub fn decrease(&mut self, clusters: Range<u64>) -> Result<(), Need> {
        for cluster in clusters {
            let count = self.get(cluster)?;
            self.set(cluster, count.saturating_sub(1))?;
        }
        Ok(())
    }

    /// No compressed data is added to what is in these clusters any more.
    pub fn end_compressed(&mut self, clusters: &Range<u64>) {
        let bits = self.geometry.cluster_bits;
        self.compressed_end
            .take_if(|end| clusters.contains(&(*end >> bits)));
    }

    /// Puts a block that was read into memory, in place of another one.
    /// `None` when there is no room for it: everything has to be stored
    /// first. An `urgent` one finds room.
    pub fn insert(&mut self, index: u64, data: Vec<u8>, urgent: bool) -> Option<()> {
        while self.blocks.len() >= self.most() {
            let oldest = self.blocks.iter().filter(|block| block.1.may_go());
            match oldest
                .min_by_key(|block| block.1.used)
                .map(|block| *block.0)
            {
                Some(oldest) => self.blocks.remove(&oldest),
                None if urgent => break,
                None => return None,
            };
        }
        self.clock += 1;
        let used = self.clock;
        self.blocks.insert(
            index,
            Block {
                data,
                dirty: Dirty::default(),
                writing: false,
                used,
            },
        );
        Some(())
    }

    /// Makes blocks for the `regions` from `first` on, which have none, at the
    /// first clusters they count, and says which cluster follows them.
    fn make_blocks(&mut self, first: u64, regions: u64) -> u64 {
        let base = first << self.geometry.block_bits;
        for number in 0..regions {
            let index = first + number;
            self.clock += 1;
            let block = Block {
                data: vec![0; self.geometry.cluster_size() as usize],
                dirty: Dirty::ALL,
                writing: false,
                used: self.clock,
            };
            self.blocks.insert(index, block);
            let offset = (base + number) << self.geometry.cluster_bits;
            self.table[index as usize] = offset;
            self.table_dirty.insert(index);
            self.filter.add(base + number);
        }
        for cluster in base..base + regions {
            // They were put there just now.
            let _ = self.set(cluster, 1);
        }
        self.fresh = self.fresh.max(base + regions);
        base + regions
    }

    /// How many blocks `clusters` clusters at the beginning of a region need,
    /// which stand there as well.
    fn regions_for(&self, clusters: u64) -> u64 {
        let per_block = 1u64 << self.geometry.block_bits;
        let mut regions = 1;
        while regions * per_block < clusters + regions {
            regions += 1;
        }
        regions
    }

    /// Takes `want` clusters in a row, or fewer unless that has to be
    /// `exact`. Says which, and whether the file reads as zeroes there.
    pub fn claim(&mut self, want: u64, exact: bool) -> Result<Claim, Need> {
        let bits = self.geometry.block_bits;
        let per_block = 1u64 << bits;
        let start = match exact {
            true => self.searched.start(want).max(self.hint),
            false => self.hint,
        };
        let mut run = start..start;
        let mut only_used = start == self.hint;
        while run.end - run.start < want {
            let (index, at) = self.place(run.end);
            let left = want - (run.end - run.start);
            if self.block_offset(index) == 0 {
                if !exact && run.end > run.start {
                    break;
                }
                if index == 0 {
                    // The header is there; something is wrong with the image.
                    run = per_block..per_block;
                    continue;
                }
                let regions = self.regions_for(want);
                let last = index + regions;
                if last > self.table.len() as u64 {
                    return Err(Need::Table(last));
                }
                if (index..last).any(|index| self.block_offset(index) != 0) {
                    // Somebody has counted what lies behind; that is rare.
                    let next = self.make_blocks(index, 1);
                    run = next..next;
                    continue;
                }
                let next = self.make_blocks(index, regions);
                run = next..next;
                continue;
            }
            let counts = self.geometry.counts;
            let Ok(block) = self.block(index) else {
                if exact {
                    // To be asked again, with this block: do not begin anew,
                    // and let all stay that this row is counted by.
                    self.searched = Searched {
                        want,
                        from: run.start,
                    };
                    self.needed = (want >> bits) as usize + 2;
                }
                return Err(Need::Block(index));
            };
            let room = per_block as usize - at;
            let free = (at..at + room.min(left as usize))
                .take_while(|at| counts.get(&block.data, *at) == 0)
                .count() as u64;
            run.end += free;
            let stopped = free < left && (at as u64 + free) < per_block;
            if stopped {
                if run.end > run.start && !exact {
                    break;
                }
                only_used &= run.end == run.start;
                // Go on behind what is used.
                let from = at + free as usize;
                let used = (from..per_block as usize)
                    .take_while(|at| counts.get(&block.data, *at) != 0)
                    .count() as u64;
                let next = run.end + used;
                run = next..next;
                if only_used {
                    self.hint = next;
                }
            }
            if run.end >= MAX_CLUSTERS >> self.geometry.cluster_bits {
                // Reported by whoever tries to write there.
                return Err(Need::Table(u64::MAX));
            }
        }
        for cluster in run.clone() {
            self.set(cluster, 1)?;
        }
        if run.start == self.hint {
            self.hint = run.end;
        }
        if exact {
            self.searched = Searched {
                want,
                from: run.end,
            };
            self.needed = 0;
        }
        let is_fresh = run.start >= self.fresh;
        self.fresh = self.fresh.max(run.end);
        Ok(Claim {
            clusters: run,
            is_fresh,
        })
    }

    /// Whether the next clusters that are taken are behind all that were ever
    /// written.
    pub fn next_is_fresh(&self) -> bool {
        self.hint >= self.fresh
    }

    /// Makes the table reach block `wanted`, at a place of its own. What
    /// stores the counts stores it there.
    ///
    /// # Errors
    /// `ENOSPC` for a table that would be longer than is supported.
    pub fn grow(&mut self, wanted: u64) -> Result<(), IoError> {
        let old = self.table.len() as u64;
        let per_cluster = self.geometry.cluster_size() / 8;
        // A longer table could be written, and never opened again.
        let most = Limits::REFCOUNT_TABLE_BYTES / 8;
        if wanted >= most {
            return Err(IoError::from_errno(errno::ENOSPC));
        }
        let mut entries = (wanted + 1).max((old + old / 2 + 1).min(most));
        let (clusters, regions) = loop {
            entries = entries.next_multiple_of(per_cluster);
            if entries > most {
                return Err(IoError::from_errno(errno::ENOSPC));
            }
            let clusters = entries / per_cluster;
            let regions = self.regions_for(clusters);
            if old + regions <= entries {
                break (clusters, regions);
            }
            entries = old + regions;
        };
        self.table.resize(entries as usize, 0);
        let first = self.make_blocks(old, regions);
        let taken = first..first + clusters;
        for cluster in taken.clone() {
            // They were made to count these.
            let _ = self.set(cluster, 1);
        }
        self.fresh = self.fresh.max(taken.end);
        // Somebody may have begun to let the header say that it is there.
        let before = self.moved.replace(NewTable { clusters: taken });
        self.passed_over.extend(before.map(|plan| plan.clusters));
        Ok(())
    }
}

/// How far a search for clusters in a row has come: no row of `want` free
/// clusters begins before `from`. A search that had to begin anew whenever a
/// block was read would never end where more blocks are in between than are
/// kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Searched {
    want: u64,
    from: u64,
}

impl Searched {
    /// Where to look for `want` clusters.
    fn start(self, want: u64) -> u64 {
        match self.want <= want {
            true => self.from,
            false => 0,
        }
    }

    /// A cluster has become free.
    fn forget_row_of(&mut self, cluster: u64) {
        let first = cluster.saturating_sub(self.want.saturating_sub(1));
        self.from = self.from.min(first);
    }
}

/// Beyond this no offset can be stored.
const MAX_CLUSTERS: u64 = 1 << 56;

/// Clusters that were free.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Claim {
    pub clusters: Range<u64>,
    /// The file reads as zeroes there.
    pub is_fresh: bool,
}

/// Where a longer table is going to be stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct NewTable {
    pub clusters: Range<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::header::Header;

    fn refs(cluster_bits: u32, blocks: u64) -> Refs {
        let geometry = Geometry::of(&Header::new(3, cluster_bits, 4));
        let mut refs = Refs::new(geometry, vec![0; blocks as usize], 1..2, 16, 0);
        refs.fresh = 0;
        refs
    }

    #[test]
    fn clusters_are_given_out_once() {
        let mut refs = refs(9, 64);
        let mut seen = BTreeSet::new();
        for _ in 0..700 {
            let claim = refs.claim(3, false).expect("room");
            assert!(claim.is_fresh);
            for cluster in claim.clusters {
                assert!(seen.insert(cluster), "{cluster} twice");
                assert_eq!(refs.get(cluster), Ok(1));
            }
        }
        for block in 0..64 {
            let offset = refs.block_offset(block);
            assert!(offset == 0 || !seen.contains(&(offset >> 9)));
        }
    }

    #[test]
    fn what_was_given_back_is_taken_again() {
        let mut refs = refs(9, 4);
        let first = refs.claim(10, true).expect("room").clusters;
        refs.set(first.start + 3, 0).expect("counted");
        let again = refs.claim(1, true).expect("room");
        assert_eq!(again.clusters.start, first.start + 3);
        assert!(!again.is_fresh);
        refs.set(first.start + 3, 0).expect("counted");
        let more = refs.claim(4, true).expect("room").clusters;
        assert_eq!(more.start, first.end, "they are in a row");
        let last = refs.claim(2, false).expect("room").clusters;
        assert_eq!(last, first.start + 3..first.start + 4);
    }

    #[test]
    fn nothing_is_added_to_what_is_given_up() {
        let mut refs = refs(12, 4);
        let first = refs.claim_bytes(1000).expect("room");
        assert_eq!(refs.claim_bytes(1000), Ok(first + 1000));
        let cluster = first >> 12;
        refs.decrease(cluster..cluster + 1).expect("counted");
        assert_eq!(refs.get(cluster), Ok(1));
        refs.end_compressed(&(cluster..cluster + 1));
        let other = refs.claim_bytes(1000).expect("room") >> 12;
        assert_ne!(other, cluster);
        // What is counted meanwhile stays counted.
        refs.set(cluster, 2).expect("counted");
        refs.decrease(cluster..cluster + 1).expect("counted");
        assert_eq!(refs.get(cluster), Ok(1));
    }

    #[test]
    fn blocks_are_found_after_what_counts_them() {
        let geometry = Geometry::of(&Header::new(3, 9, 6));
        let mut refs = Refs::new(geometry, vec![0; 64], 1..2, 16, 0);
        refs.claim(1, false).expect("room");
        refs.table_dirty.clear();
        // The first block counts 64 clusters, and so many of the others.
        refs.claim(5000, true).expect_err("the table ends");
        refs.claim(3800, true).expect("room");
        let mut left = refs.table_dirty.clone();
        let mut found = BTreeSet::new();
        while !left.is_empty() {
            let now = refs.counted_without(&left);
            for index in &now {
                let by = refs.place(refs.block_offset(*index) >> 9).0;
                assert!(by == *index || found.contains(&by), "{index} by {by}");
            }
            left.retain(|index| !now.contains(index));
            found.extend(now);
        }
        assert_eq!(found, refs.table_dirty);
        assert!(found.len() > 50);
    }

    #[test]
    fn a_long_row_crosses_blocks() {
        let mut refs = refs(9, 64);
        refs.claim(5, true).expect("room");
        let row = refs.claim(1000, true).expect("room").clusters;
        assert_eq!(row.end - row.start, 1000);
        for cluster in row {
            assert_eq!(refs.get(cluster), Ok(1));
        }
    }

    /// Counts with `blocks` blocks in the file, of which few are kept, and
    /// where `used` says what is used.
    fn stored(blocks: u64, used: impl Fn(u64) -> bool) -> (Refs, impl Fn(u64) -> Vec<u8>) {
        let geometry = Geometry::of(&Header::new(3, 9, 4));
        let table = (1..=blocks).map(|block| block << 9).collect();
        let refs = Refs::new(geometry, table, 0..1, 4, blocks << 17);
        let read = move |index: u64| {
            let mut data = vec![0; 512];
            for at in 0..256 {
                let count = used(index * 256 + at as u64);
                geometry.counts.set(&mut data, at, u64::from(count));
            }
            data
        };
        (refs, read)
    }

    /// Asks for clusters until they are there, reading what is needed.
    fn ask(refs: &mut Refs, read: impl Fn(u64) -> Vec<u8>, want: u64) -> Range<u64> {
        for _ in 0..1000 {
            match refs.claim(want, true) {
                Ok(claim) => return claim.clusters,
                Err(Need::Block(index)) => {
                    let room = refs.insert(index, read(index), false);
                    assert!(room.is_some(), "nothing is dirty");
                }
                Err(need) => panic!("{need:?}"),
            }
        }
        panic!("the search does not end");
    }

    #[test]
    fn a_search_ends_whose_blocks_are_not_all_kept() {
        let (mut refs, read) = stored(40, |cluster| cluster % 64 != 7 && cluster < 9000);
        let found = ask(&mut refs, &read, 3);
        assert_eq!(found, 9000..9003);
        // What becomes free is found, also together with what was.
        for cluster in [300, 301] {
            while let Err(Need::Block(index)) = refs.set(cluster, 0) {
                refs.insert(index, read(index), true);
            }
        }
        assert_eq!(ask(&mut refs, &read, 2), 300..302);
        assert_eq!(ask(&mut refs, &read, 1), 7..8);
    }

    #[test]
    fn a_row_is_found_that_more_blocks_count_than_are_kept() {
        let (mut refs, read) = stored(40, |cluster| cluster < 1000 || cluster == 2000);
        assert_eq!(ask(&mut refs, &read, 3000), 2001..5001);
        assert!(refs.blocks.len() > refs.capacity());
        for block in refs.blocks.values_mut() {
            block.dirty = Dirty::default();
        }
        refs.trim();
        assert_eq!(refs.blocks.len(), refs.capacity());
    }

    #[test]
    fn blocks_go_that_nobody_uses() {
        let (mut refs, read) = stored(8, |_| true);
        for index in 0..4 {
            refs.insert(index, read(index), false);
        }
        refs.set(5, 3).expect("it is there");
        refs.clean();
        assert_eq!(refs.blocks.len(), 4, "all were used");
        assert_eq!(refs.get(300), Ok(1));
        refs.clean();
        let left: Vec<u64> = refs.blocks.keys().copied().collect();
        assert_eq!(left, [0, 1], "what is not stored, and what was used");
        refs.set_capacity(1);
        let left: Vec<u64> = refs.blocks.keys().copied().collect();
        assert_eq!(left, [0]);
    }

    #[test]
    fn nothing_counts_what_no_block_counts() {
        let (mut refs, _) = stored(4, |_| true);
        assert_eq!(refs.get(4 * 256), Ok(0));
        assert_eq!(refs.set(4 * 256, 1), Err(Need::Nothing(4)));
        refs.table.push(0);
        assert_eq!(refs.set(4 * 256, 1), Err(Need::Nothing(4)));
    }

    #[test]
    fn new_blocks_do_not_fill_the_memory() {
        let mut refs = refs(9, 4096);
        refs.set_capacity(8);
        let mut most = 0;
        for _ in 0..60_000 {
            if refs.is_overfull() {
                for block in refs.blocks.values_mut() {
                    block.dirty = Dirty::default();
                }
                refs.trim();
            }
            assert!(refs.claim(1, true).is_ok(), "it was made just now");
            most = most.max(refs.blocks.len());
        }
        assert!(most <= 17, "{most}");
    }

    #[test]
    fn the_table_grows_no_longer_than_can_be_opened() {
        let most = Limits::REFCOUNT_TABLE_BYTES / 8;
        let mut refs = refs(9, most * 3 / 4);
        refs.grow(most * 3 / 4).expect("room");
        assert_eq!(refs.table.len() as u64, most);
    }

    #[test]
    fn the_table_grows_where_it_ends() {
        let mut refs = refs(9, 1);
        let needed = loop {
            match refs.claim(1, true) {
                Ok(_) => {}
                Err(need) => break need,
            }
        };
        assert_eq!(needed, Need::Table(2));
        refs.grow(2).expect("room");
        assert!(refs.table.len() > 2);
        let moved = refs.moved.clone().expect("it moves").clusters;
        assert_eq!(moved.end - moved.start, 1);
        assert_eq!(refs.get(moved.start), Ok(1));
        assert!(refs.claim(1, true).is_ok());
        assert!(refs.grow(1 << 20).is_err(), "there is an end to it");
    }
}
