//! How an image is divided: what follows from its header and does not change.

use crate::format::entry::{COMPRESSED, OFFSET, ZERO};
use crate::format::header::Header;
use crate::format::refcount::Counts;

/// Sizes and shifts of an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Geometry {
    pub version: u32,
    pub cluster_bits: u32,
    /// The same as `cluster_bits` where there are no subclusters.
    pub subcluster_bits: u32,
    /// A second-level table describes `1 << l2_bits` clusters.
    pub l2_bits: u32,
    /// 1, or 2 with subclusters.
    pub words_per_entry: usize,
    pub counts: Counts,
    /// A refcount block counts `1 << block_bits` clusters.
    pub block_bits: u32,
    /// The data is in this file and not in another one.
    pub keeps_data: bool,
    /// How long a cluster is, if the data is in this file and there are no
    /// subclusters; 0 otherwise.
    pub plain_size: u64,
    /// What no entry has whose data is stored as it is: flags, and what would
    /// put it elsewhere than at the beginning of a cluster.
    pub odd: u64,
}

impl Geometry {
    pub fn of(header: &Header) -> Geometry {
        let cluster_bits = header.cluster_bits;
        let entry_bits = if header.has_subclusters() { 4 } else { 3 };
        Geometry {
            version: header.version,
            cluster_bits,
            subcluster_bits: header.subcluster_bits(),
            l2_bits: cluster_bits - entry_bits,
            words_per_entry: if header.has_subclusters() { 2 } else { 1 },
            counts: Counts::new(header.refcount_order),
            block_bits: cluster_bits + 3 - header.refcount_order,
            keeps_data: !header.has_data_file(),
            plain_size: match header.has_data_file() || header.has_subclusters() {
                true => 0,
                false => 1 << cluster_bits,
            },
            odd: COMPRESSED | ZERO | OFFSET & ((1 << cluster_bits) - 1),
        }
    }

    /// Whether it is the same but for what an amendment changes.
    pub fn is_like(&self, other: &Geometry) -> bool {
        let other = Geometry {
            version: self.version,
            counts: self.counts,
            block_bits: self.block_bits,
            ..*other
        };
        *self == other
    }

    #[inline]
    pub fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }

    pub fn subcluster_size(&self) -> u64 {
        1 << self.subcluster_bits
    }

    pub fn has_subclusters(&self) -> bool {
        self.words_per_entry == 2
    }

    /// Where in its cluster an offset is.
    #[inline]
    pub fn in_cluster(&self, offset: u64) -> u64 {
        offset & (self.cluster_size() - 1)
    }

    /// How many clusters `bytes` bytes take.
    pub fn clusters_of(&self, bytes: u64) -> u64 {
        bytes.div_ceil(self.cluster_size())
    }

    /// Which first-level entry an offset of the guest belongs to.
    #[inline]
    pub fn l1_index(&self, offset: u64) -> u64 {
        offset >> (self.cluster_bits + self.l2_bits)
    }

    /// How many bytes of the guest a second-level table describes.
    pub fn l2_coverage(&self) -> u64 {
        1 << (self.cluster_bits + self.l2_bits)
    }

    /// How many first-level entries an image of `size` bytes needs.
    pub fn l1_entries(&self, size: u64) -> u64 {
        size.div_ceil(self.l2_coverage())
    }
}
