//! What a user can say about an open image.

use block_common::error::errno;
use block_common::{GraphError, IoError};

use crate::format::Limits;
use crate::geometry::Geometry;

/// The cache of second-level tables, at most, unless said otherwise.
const DEFAULT_L2_CACHE: u64 = 32 << 20;

/// How many slices are cached at least.
const MIN_L2_ENTRIES: u64 = 2;

/// How many blocks of counts are cached at least.
const MIN_REFCOUNT_ENTRIES: u64 = 4;

/// Unused parts of the caches go after this many seconds.
const DEFAULT_CLEAN_INTERVAL: u64 = 600;

bitflags::bitflags! {
    /// Which metadata is looked at before anything is written, so that it is
    /// not overwritten (`overlap-check`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct OverlapChecks: u16 {
        /// The header.
        const MAIN_HEADER = 1;
        /// The first-level table.
        const ACTIVE_L1 = 1 << 1;
        /// Second-level tables.
        const ACTIVE_L2 = 1 << 2;
        /// The table of refcount blocks.
        const REFCOUNT_TABLE = 1 << 3;
        /// Refcount blocks.
        const REFCOUNT_BLOCK = 1 << 4;
        /// The table of snapshots.
        const SNAPSHOT_TABLE = 1 << 5;
        /// First-level tables of snapshots.
        const INACTIVE_L1 = 1 << 6;
        /// Second-level tables of snapshots.
        const INACTIVE_L2 = 1 << 7;
        /// The directory of bitmaps.
        const BITMAP_DIRECTORY = 1 << 8;
        /// What is always at the same place.
        const CONSTANT = 1 | 1 << 1 | 1 << 3 | 1 << 5 | 1 << 8;
        /// And what is in memory anyway.
        const CACHED = Self::CONSTANT.bits() | 1 << 2 | 1 << 4 | 1 << 6;
    }
}

/// Options of an image, as given; `None` is the default.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Qcow2Options {
    /// `cache-size`, in bytes.
    pub cache_size: Option<u64>,
    /// `l2-cache-size`, in bytes.
    pub l2_cache_size: Option<u64>,
    /// `l2-cache-entry-size`, in bytes.
    pub l2_cache_entry_size: Option<u64>,
    /// `refcount-cache-size`, in bytes.
    pub refcount_cache_size: Option<u64>,
    /// `cache-clean-interval`, in seconds; 0 for never.
    pub cache_clean_interval: Option<u64>,
    /// `lazy-refcounts`.
    pub lazy_refcounts: Option<bool>,
    /// `pass-discard-request`.
    pub pass_discard_request: Option<bool>,
    /// `pass-discard-snapshot`.
    pub pass_discard_snapshot: Option<bool>,
    /// `pass-discard-other`.
    pub pass_discard_other: Option<bool>,
    /// `discard-no-unref`.
    pub discard_no_unref: Option<bool>,
    /// `overlap-check` or `overlap-check.template`.
    pub overlap_check: Option<String>,
    /// Single checks that differ from that, and whether they are made.
    pub overlap_checks: Vec<(OverlapChecks, bool)>,
}

/// What follows from the options for one image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Settings {
    /// How many slices are cached.
    pub slices: usize,
    /// How long a slice is, in bytes.
    pub slice_bytes: usize,
    /// How many blocks of counts are cached.
    pub blocks: usize,
    pub lazy_refcounts: bool,
    pub pass_discard_request: bool,
    pub pass_discard_snapshot: bool,
    pub pass_discard_other: bool,
    pub discard_no_unref: bool,
    pub overlap_checks: OverlapChecks,
    pub clean_interval: u64,
}

impl Settings {
    /// Whether the caches are as large.
    pub fn has_caches_of(&self, other: &Settings) -> bool {
        let sizes = |of: &Settings| (of.slices, of.slice_bytes, of.blocks);
        sizes(self) == sizes(other)
    }
}

fn refused(message: impl Into<String>) -> GraphError {
    GraphError::Refused {
        message: message.into(),
        errno: errno::EINVAL,
    }
}

impl Qcow2Options {
    /// What they mean for an image that is `size` bytes long; `unmap` is the
    /// node's option, `lazy` what the image says.
    pub(crate) fn settle(
        &self,
        geometry: &Geometry,
        size: u64,
        unmap: bool,
        lazy: bool,
    ) -> Result<Settings, GraphError> {
        let (l2_bytes, slice_bytes, refcount_bytes) = self.cache_sizes(geometry, size)?;
        let slices = (l2_bytes / slice_bytes).max(MIN_L2_ENTRIES);
        if slices > i32::MAX as u64 {
            return Err(refused("L2 cache size too big"));
        }
        let blocks = (refcount_bytes / geometry.cluster_size()).max(MIN_REFCOUNT_ENTRIES);
        if blocks > i32::MAX as u64 {
            return Err(refused("Refcount cache size too big"));
        }
        let clean_interval = self.cache_clean_interval.unwrap_or(DEFAULT_CLEAN_INTERVAL);
        if clean_interval > u64::from(u32::MAX) {
            return Err(refused("Cache clean interval too big"));
        }
        let lazy_refcounts = self.lazy_refcounts.unwrap_or(lazy);
        if lazy_refcounts && geometry.version < 3 {
            return Err(refused(
                "Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level",
            ));
        }
        let discard_no_unref = self.discard_no_unref.unwrap_or(false);
        if discard_no_unref && geometry.version < 3 {
            return Err(refused(
                "discard-no-unref is only supported since qcow2 version 3",
            ));
        }
        // No image needs more than this, whatever is said.
        let l2_entries = size
            .div_ceil(slice_coverage(geometry, slice_bytes))
            .max(MIN_L2_ENTRIES);
        // A row of clusters for a table has to be counted by what is cached.
        let least = (256 << 10) / geometry.cluster_size();
        let most = Limits::REFCOUNT_TABLE_BYTES / 8;
        Ok(Settings {
            slices: slices.min(l2_entries) as usize,
            slice_bytes: slice_bytes as usize,
            blocks: blocks.max(least).min(most) as usize,
            lazy_refcounts,
            pass_discard_request: self.pass_discard_request.unwrap_or(unmap),
            pass_discard_snapshot: self.pass_discard_snapshot.unwrap_or(true),
            pass_discard_other: self.pass_discard_other.unwrap_or(false),
            discard_no_unref,
            overlap_checks: self.overlap_checks()?,
            clean_interval,
        })
    }

    fn overlap_checks(&self) -> Result<OverlapChecks, GraphError> {
        let mut checks = match self.overlap_check.as_deref() {
            None | Some("cached") => OverlapChecks::CACHED,
            Some("none") => OverlapChecks::empty(),
            Some("constant") => OverlapChecks::CONSTANT,
            Some("all") => OverlapChecks::all(),
            Some(other) => {
                return Err(refused(format!(
                    "Unsupported value '{other}' for qcow2 option 'overlap-check'. Allowed are \
                     any of the following: none, constant, cached, all"
                )));
            }
        };
        for (check, on) in &self.overlap_checks {
            checks.set(*check, *on);
        }
        Ok(checks)
    }

    /// Bytes for slices, of a slice, for counts (`read_cache_sizes`).
    fn cache_sizes(&self, geometry: &Geometry, size: u64) -> Result<(u64, u64, u64), GraphError> {
        let cluster = geometry.cluster_size();
        let entry = 8 * geometry.words_per_entry as u64;
        let most = (size.div_ceil(cluster) * entry).next_multiple_of(cluster);
        let l2_said = self.l2_cache_size.unwrap_or(DEFAULT_L2_CACHE);
        let mut l2 = most.min(l2_said);
        let mut counts = self.refcount_cache_size.unwrap_or(0);
        if let Some(total) = self.cache_size {
            let l2_set = self.l2_cache_size.is_some();
            let counts_set = self.refcount_cache_size.is_some();
            if l2_set && counts_set {
                return Err(refused(
                    "cache-size, l2-cache-size and refcount-cache-size may not be set at the same \
                     time",
                ));
            }
            if l2_set && l2_said > total {
                return Err(refused("l2-cache-size may not exceed cache-size"));
            }
            if counts > total {
                return Err(refused("refcount-cache-size may not exceed cache-size"));
            }
            let least_counts = MIN_REFCOUNT_ENTRIES * cluster;
            if l2_set {
                counts = total - l2;
            } else if counts_set {
                l2 = total - counts;
            } else if total >= most + least_counts {
                l2 = most;
                counts = total - l2;
            } else {
                counts = total.min(least_counts);
                l2 = total - counts;
            }
        }
        let default_slice = if l2 < most {
            cluster.min(4096)
        } else {
            cluster
        };
        let slice = self.l2_cache_entry_size.unwrap_or(default_slice);
        if slice < 512 || slice > cluster || !slice.is_power_of_two() {
            return Err(refused(format!(
                "L2 cache entry size must be a power of two between 512 and the cluster size \
                 ({cluster})"
            )));
        }
        Ok((l2, slice, counts))
    }
}

/// How many bytes of the guest a slice describes.
fn slice_coverage(geometry: &Geometry, slice_bytes: u64) -> u64 {
    slice_bytes / (8 * geometry.words_per_entry as u64) * geometry.cluster_size()
}

/// Refused because of what the image is.
pub(crate) fn not_for(what: &'static str) -> IoError {
    IoError::refused(errno::ENOTSUP, what)
}
