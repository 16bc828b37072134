//! Entries of the first-level and second-level tables.

/// Bits of an entry that say where something is: clusters begin at multiples
/// of 512, and the upper byte is for flags.
pub const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

/// Whoever finds this may write in place: nothing else uses the cluster.
pub const COPIED: u64 = 1 << 63;

/// A second-level entry that describes compressed data.
pub const COMPRESSED: u64 = 1 << 62;

/// A second-level entry of an image without subclusters that reads as zeroes.
pub const ZERO: u64 = 1;

/// How many subclusters a cluster has, if it has any.
pub const SUBCLUSTERS: u32 = 32;

/// The second word of an extended entry all of whose subclusters are stored.
pub const ALL_STORED: u64 = 0xffff_ffff;

/// The second word of an extended entry all of whose subclusters are zeroes.
pub const ALL_ZERO: u64 = 0xffff_ffff << 32;

/// What a subcluster is, or a cluster of an image without them
/// (`QCow2SubclusterType`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Not here; there is no cluster either.
    Unallocated,
    /// Not here, although there is a cluster.
    UnallocatedStored,
    /// Zeroes, without a cluster.
    Zero,
    /// Zeroes, although there is a cluster.
    ZeroStored,
    /// Stored as it is.
    Data,
    /// Stored compressed.
    Compressed,
    /// This cannot be.
    Invalid,
}

/// A second-level entry. Images without subclusters have no second word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Entry {
    /// The first word.
    pub word: u64,
    /// Which subclusters are stored (low half) or zero (high half).
    pub bitmap: u64,
}

impl Entry {
    /// Where the cluster is, 0 for nowhere. Not for compressed ones.
    pub fn host(self) -> u64 {
        self.word & OFFSET
    }

    /// Whether it is compressed.
    pub fn is_compressed(self) -> bool {
        self.word & COMPRESSED != 0
    }

    /// Whether a cluster belongs to it that nothing else uses.
    pub fn is_own(self) -> bool {
        self.word & (COPIED | COMPRESSED) == COPIED
    }

    /// What subcluster `index` is. `keeps_data` says that the data is in this
    /// file; in a data file of its own the first cluster is at 0.
    pub fn kind(self, subclusters: bool, index: u32, keeps_data: bool) -> Kind {
        if self.is_compressed() {
            return Kind::Compressed;
        }
        let stored = self.host() != 0 || (!keeps_data && self.word & COPIED != 0);
        if !subclusters {
            return match (self.word & ZERO != 0, stored) {
                (true, true) => Kind::ZeroStored,
                (true, false) => Kind::Zero,
                (false, true) => Kind::Data,
                (false, false) => Kind::Unallocated,
            };
        }
        let is_data = self.bitmap >> index & 1 != 0;
        let is_zero = self.bitmap >> (index + 32) & 1 != 0;
        match (is_data, is_zero, stored) {
            (true, true, _) | (true, false, false) => Kind::Invalid,
            (true, false, true) => Kind::Data,
            (false, true, true) => Kind::ZeroStored,
            (false, true, false) => Kind::Zero,
            (false, false, true) => Kind::UnallocatedStored,
            (false, false, false) => Kind::Unallocated,
        }
    }
}

/// Where compressed data is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompressedRange {
    /// The first byte.
    pub start: u64,
    /// How many bytes there are at most: up to the end of the last sector.
    pub bytes: u64,
}

impl CompressedRange {
    /// Reads a compressed entry.
    pub fn of(word: u64, cluster_bits: u32) -> CompressedRange {
        let shift = size_shift(cluster_bits);
        let start = word & ((1 << shift) - 1);
        let sectors = (word & !(COPIED | COMPRESSED)) >> shift;
        CompressedRange {
            start,
            bytes: (sectors + 1) * 512 - start % 512,
        }
    }

    /// The entry for it. `None` if that has no room for it.
    pub fn entry(self, cluster_bits: u32) -> Option<u64> {
        let shift = size_shift(cluster_bits);
        let last = self.start.checked_add(self.bytes)?.checked_sub(1)?;
        let sectors = last / 512 - self.start / 512;
        let fits = self.start < 1 << shift && sectors < 1 << (62 - shift);
        fits.then_some(COMPRESSED | sectors << shift | self.start)
    }
}

/// From which bit on a compressed entry says how many sectors there are.
fn size_shift(cluster_bits: u32) -> u32 {
    62 - (cluster_bits - 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn compressed_ranges_survive(bits in 9u32..=21, start in 0u64..1 << 40, bytes in 1u64..1 << 21) {
            let bytes = bytes.min(1 << bits);
            let range = CompressedRange { start, bytes };
            if let Some(entry) = range.entry(bits) {
                let read = CompressedRange::of(entry, bits);
                prop_assert_eq!(read.start, start);
                prop_assert!(read.bytes >= bytes && read.bytes < bytes + 512);
                prop_assert_eq!((read.start + read.bytes) % 512, 0);
                prop_assert_eq!(read.entry(bits), Some(entry));
            }
        }
    }

    #[test]
    fn each_state_of_a_cluster_is_told_from_the_others() {
        let kind = |word| Entry { word, bitmap: 0 }.kind(false, 0, true);
        assert_eq!(kind(0), Kind::Unallocated);
        assert_eq!(kind(ZERO), Kind::Zero);
        assert_eq!(kind(0x10000 | ZERO), Kind::ZeroStored);
        assert_eq!(kind(0x10000 | COPIED), Kind::Data);
        assert_eq!(kind(COMPRESSED | 0x1234), Kind::Compressed);
        let first = Entry {
            word: COPIED,
            bitmap: 0,
        };
        assert_eq!(first.kind(false, 0, false), Kind::Data);
        assert_eq!(first.kind(false, 0, true), Kind::Unallocated);
        let extended = Entry {
            word: 0x10000,
            bitmap: 0b1 | 0b10 << 32,
        };
        assert_eq!(extended.kind(true, 0, true), Kind::Data);
        assert_eq!(extended.kind(true, 1, true), Kind::ZeroStored);
        assert_eq!(extended.kind(true, 2, true), Kind::UnallocatedStored);
        let both = Entry {
            word: 0x10000,
            bitmap: 1 | 1 << 32,
        };
        assert_eq!(both.kind(true, 0, true), Kind::Invalid);
    }
}
