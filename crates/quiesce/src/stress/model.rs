//! What can be on a disk: for each byte the values it may have.
//!
//! A write that succeeds settles its bytes. One that fails, or is dropped half
//! way, leaves each byte as it was or as it was to be; so does a discard, with
//! zeroes. Whatever is read must be one of the possible values, and settles
//! the byte: until the next write it stays what it was seen to be.

use std::collections::BTreeMap;
use std::ops::Range;

/// Doubts are kept by blocks of so many bytes.
const BLOCK: usize = 512;

/// More possible values than this a byte is not given; see
/// [`Model::is_crowded`].
const MOST_DOUBTS: usize = 12;

/// What a block may have instead of what it is thought to have, byte by byte.
type Doubt = Box<[Option<u8>; BLOCK]>;

/// The possible contents of a disk.
#[derive(Debug, Default)]
pub struct Model {
    known: Vec<u8>,
    doubts: BTreeMap<u64, Vec<Doubt>>,
}

/// A byte that cannot have the value it was found to have.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the byte at offset {at} is {found:#04x} and can only be {possible:02x?}; {wrong} of {bytes} bytes are wrong"
)]
pub struct Mismatch {
    /// Its offset on the disk.
    pub at: u64,
    /// What was found.
    pub found: u8,
    /// What it can be.
    pub possible: Vec<u8>,
    /// How many bytes of the request are wrong.
    pub wrong: usize,
    /// How many bytes the request had.
    pub bytes: usize,
}

impl Model {
    /// Exactly these bytes.
    pub fn new(known: Vec<u8>) -> Self {
        Model {
            known,
            doubts: BTreeMap::new(),
        }
    }

    /// How long the disk is.
    pub fn len(&self) -> u64 {
        self.known.len() as u64
    }

    /// The bytes of a range, as far as they are known.
    pub fn bytes(&self, range: Range<u64>) -> &[u8] {
        &self.known[range.start as usize..range.end as usize]
    }

    /// How many blocks have bytes with several possible values.
    #[cfg(test)]
    pub fn doubtful_blocks(&self) -> usize {
        self.doubts.len()
    }

    /// Whether a range should be read before anything else happens to it.
    pub fn is_crowded(&self, range: &Range<u64>) -> bool {
        let mut blocks = self.doubts.range(blocks_of(range));
        blocks.any(|(_, doubts)| doubts.len() >= MOST_DOUBTS)
    }

    /// Compares what was found with what is possible, and with `settles` takes
    /// it for what is there from now on. Without, somebody may still be
    /// writing there.
    pub fn observe(&mut self, offset: u64, found: &[u8], settles: bool) -> Result<(), Mismatch> {
        let range = offset..offset + found.len() as u64;
        let known = self.bytes(range.clone());
        let differing = (0..found.len()).filter(|&index| known[index] != found[index]);
        let mut wrong = differing
            .filter(|&index| !self.may_be(offset + index as u64, found[index]))
            .peekable();
        if let Some(&first) = wrong.peek() {
            let at = offset + first as u64;
            return Err(Mismatch {
                at,
                found: found[first],
                possible: self.possible(at),
                wrong: wrong.count(),
                bytes: found.len(),
            });
        }
        drop(wrong);
        if settles {
            self.wrote(offset, found);
        }
        Ok(())
    }

    /// Whether a range can consist of zeroes.
    pub fn may_be_zero(&self, range: Range<u64>) -> Result<(), Mismatch> {
        let mut wrong = range.clone().filter(|&at| !self.may_be(at, 0)).peekable();
        match wrong.peek().copied() {
            None => Ok(()),
            Some(at) => Err(Mismatch {
                at,
                found: 0,
                possible: self.possible(at),
                wrong: wrong.count(),
                bytes: (range.end - range.start) as usize,
            }),
        }
    }

    /// A write succeeded. It may make the disk longer.
    pub fn wrote(&mut self, offset: u64, bytes: &[u8]) {
        let range = offset..offset + bytes.len() as u64;
        if range.end > self.len() && !bytes.is_empty() {
            self.set_length(range.end);
        }
        self.known[range.start as usize..range.end as usize].copy_from_slice(bytes);
        self.settle(range);
    }

    /// A write failed or was dropped, within the disk.
    pub fn may_have_written(&mut self, offset: u64, bytes: &[u8]) {
        let range = offset..offset + bytes.len() as u64;
        for block in blocks_of(&range) {
            let start = block * BLOCK as u64;
            let mut doubt: Doubt = Box::new([None; BLOCK]);
            for (index, slot) in doubt.iter_mut().enumerate() {
                let at = start + index as u64;
                if range.contains(&at) {
                    *slot = Some(bytes[(at - offset) as usize]);
                }
            }
            self.doubts.entry(block).or_default().push(doubt);
        }
    }

    /// The disk has another length; what is new is zero.
    pub fn set_length(&mut self, length: u64) {
        let old = self.len();
        self.known.resize(length as usize, 0);
        self.settle(length.min(old)..length.max(old));
    }

    fn settle(&mut self, range: Range<u64>) {
        let mut empty = Vec::new();
        for (&block, doubts) in self.doubts.range_mut(blocks_of(&range)) {
            let start = block * BLOCK as u64;
            doubts.retain_mut(|doubt| {
                for (index, slot) in doubt.iter_mut().enumerate() {
                    if range.contains(&(start + index as u64)) {
                        *slot = None;
                    }
                }
                doubt.iter().any(Option::is_some)
            });
            if doubts.is_empty() {
                empty.push(block);
            }
        }
        for block in empty {
            self.doubts.remove(&block);
        }
    }

    fn may_be(&self, at: u64, value: u8) -> bool {
        self.known[at as usize] == value || self.others(at).any(|other| other == value)
    }

    fn possible(&self, at: u64) -> Vec<u8> {
        let known = [self.known[at as usize]];
        known.into_iter().chain(self.others(at)).collect()
    }

    fn others(&self, at: u64) -> impl Iterator<Item = u8> {
        let doubts = self.doubts.get(&(at / BLOCK as u64)).into_iter().flatten();
        doubts.filter_map(move |doubt| doubt[at as usize % BLOCK])
    }
}

fn blocks_of(range: &Range<u64>) -> Range<u64> {
    let block = BLOCK as u64;
    match range.is_empty() {
        true => 0..0,
        false => range.start / block..range.end.div_ceil(block),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_old_or_new_until_it_is_seen() {
        let mut model = Model::new(vec![1; 2000]);
        model.may_have_written(500, &[2; 1000]);
        model.may_have_written(600, &[3; 10]);
        assert_eq!(model.doubtful_blocks(), 3);
        model.observe(0, &[1; 2000], false).expect("the old bytes");
        let mut found = vec![1; 2000];
        found[605] = 3;
        found[1499] = 2;
        model.observe(0, &found, true).expect("one or the other");
        assert_eq!(model.doubtful_blocks(), 0);
        let changed = model.observe(600, &[2; 6], true).expect_err("settled");
        assert_eq!((changed.at, changed.found, changed.wrong), (600, 2, 6));
        assert_eq!(changed.possible, [1]);
    }

    #[test]
    fn a_write_settles_its_bytes_alone() {
        let mut model = Model::new(vec![1; 512]);
        model.may_have_written(0, &[2; 100]);
        model.wrote(50, &[3; 50]);
        model.observe(0, &[2; 50], false).expect("still in doubt");
        assert!(model.observe(50, &[2; 1], false).is_err());
        assert!(model.observe(100, &[2; 1], false).is_err());
        assert!(model.may_be_zero(0..1).is_err());
        model.may_have_written(0, &[0; 10]);
        model.may_be_zero(0..10).expect("perhaps");
        assert_eq!(model.may_be_zero(0..11).expect_err("not that").at, 10);
    }

    #[test]
    fn what_is_new_is_zero_and_what_is_gone_is_forgotten() {
        let mut model = Model::new(vec![1; 1000]);
        model.may_have_written(0, &[2; 1000]);
        model.set_length(600);
        model.set_length(1000);
        let mut found = vec![2; 600];
        found.resize(1000, 0);
        model.observe(0, &found, true).expect("kept and zero");
        model.wrote(1500, &[7]);
        assert_eq!(model.len(), 1501);
        model.may_be_zero(1000..1500).expect("a gap is zero");
    }

    #[test]
    fn many_doubts_ask_for_a_look() {
        let mut model = Model::new(vec![1; 1024]);
        for value in 0..MOST_DOUBTS {
            assert!(!model.is_crowded(&(0..1024)));
            model.may_have_written(600, &[value as u8]);
        }
        assert!(model.is_crowded(&(0..1024)));
        assert!(!model.is_crowded(&(0..512)));
    }
}
