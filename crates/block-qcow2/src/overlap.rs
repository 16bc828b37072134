//! What must not be overwritten by data (`overlap-check`).
//!
//! In an image whose counts are wrong a cluster may be given out, or written
//! in place, that holds metadata. So every write is compared with where
//! metadata is. A filter that says "not here" in a few steps stands before
//! the exact look.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use block_io::{IoError, Request};

use crate::format::entry::OFFSET;
use crate::image::{Image, State};
use crate::options::OverlapChecks;
use crate::refs::Claim;

/// How many bits the filter has, as a power of two.
const BITS: u32 = 16;

/// Clusters that may hold metadata. Says yes too often, never no where it
/// should say yes.
#[derive(Clone, Debug)]
pub(crate) struct Filter(Arc<[AtomicU64]>);

impl Filter {
    pub fn new() -> Filter {
        Filter((0..1 << (BITS - 6)).map(|_| AtomicU64::new(0)).collect())
    }

    fn place(cluster: u64) -> (usize, u64) {
        let bit = cluster.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BITS);
        ((bit >> 6) as usize, 1 << (bit & 63))
    }

    pub fn add(&self, cluster: u64) {
        let (word, mask) = Filter::place(cluster);
        self.0[word].fetch_or(mask, Ordering::Relaxed);
    }

    #[inline]
    fn may_have(&self, cluster: u64) -> bool {
        let (word, mask) = Filter::place(cluster);
        self.0[word].load(Ordering::Relaxed) & mask != 0
    }
}

impl Image {
    /// Notes where all metadata is.
    pub fn note_metadata(&self) {
        let state = self.lock();
        let bits = self.geometry.cluster_bits;
        self.filter.add(0);
        for (_, start, bytes) in tables(&state) {
            for cluster in start >> bits..(start + bytes).div_ceil(1 << bits) {
                self.filter.add(cluster);
            }
        }
        // Most of a table are blocks that there are not yet.
        for some in state.refs.table.chunks(16) {
            if some.iter().fold(0, |any, entry| any | entry) == 0 {
                continue;
            }
            for entry in some.iter().filter(|entry| **entry != 0) {
                self.filter.add((entry & OFFSET) >> bits);
            }
        }
        for index in 0..u64::from(state.header.l1_size) {
            self.filter.add(self.l1.table(index) >> bits);
        }
    }

    /// Whether a write there need not be looked at any closer.
    #[inline]
    pub fn is_only_data(&self, host: u64, bytes: u64) -> bool {
        let bits = self.geometry.cluster_bits;
        !self.geometry.keeps_data
            || (host >> bits..=(host + bytes - 1) >> bits)
                .all(|cluster| !self.filter.may_have(cluster))
    }

    /// Refuses to give out the header, which an image counts as free that is
    /// wrong; `what` was to be there.
    ///
    /// # Errors
    /// `EIO`; the image is marked as corrupt.
    pub async fn check_claim(
        &self,
        request: Request<'_>,
        claim: &Claim,
        what: &str,
    ) -> Result<(), IoError> {
        if claim.clusters.start > 0 {
            return Ok(());
        }
        let text = format!("Preventing invalid allocation of {what} at offset 0");
        Err(self.corrupted(request, &text).await)
    }

    /// Refuses to overwrite metadata with data, and marks the image
    /// (`qcow2_pre_write_overlap_check`).
    pub async fn check_overlap(
        &self,
        request: Request<'_>,
        host: u64,
        bytes: u64,
    ) -> Result<(), IoError> {
        if bytes == 0 || self.is_only_data(host, bytes) {
            return Ok(());
        }
        let Some(name) = self.overlaps(host, bytes) else {
            return Ok(());
        };
        let text = format!("Preventing invalid write on metadata (overlaps with {name})");
        Err(self.corrupted(request, &text).await)
    }

    fn overlaps(&self, host: u64, bytes: u64) -> Option<&'static str> {
        let checks = self.settings.lock().overlap_checks;
        let state = self.lock();
        let size = self.geometry.cluster_size();
        let range = host & !(size - 1)..(host + bytes).next_multiple_of(size);
        let hits = |start: u64, bytes: u64| {
            bytes > 0 && start < range.end && range.start < start.saturating_add(bytes)
        };
        if checks.contains(OverlapChecks::MAIN_HEADER) && hits(0, size) {
            return Some("qcow2_header");
        }
        for (check, start, bytes) in tables(&state) {
            if checks.contains(check) && hits(start, bytes) {
                return Some(name_of(check));
            }
        }
        if checks.contains(OverlapChecks::ACTIVE_L2) {
            for index in 0..u64::from(state.header.l1_size) {
                let table = self.l1.table(index);
                if table != 0 && hits(table, size) {
                    return Some("active L2 table");
                }
            }
        }
        if checks.contains(OverlapChecks::REFCOUNT_BLOCK) {
            for entry in &state.refs.table {
                if entry & OFFSET != 0 && hits(entry & OFFSET, size) {
                    return Some("refcount block");
                }
            }
        }
        None
    }
}

/// Tables that the header and the table of snapshots say: what checks them,
/// where they are, how long.
fn tables(state: &State) -> Vec<(OverlapChecks, u64, u64)> {
    let header = &state.header;
    let mut tables = vec![
        (
            OverlapChecks::ACTIVE_L1,
            header.l1_offset,
            u64::from(header.l1_size) * 8,
        ),
        (
            OverlapChecks::REFCOUNT_TABLE,
            header.refcount_table_offset,
            u64::from(header.refcount_table_clusters) << header.cluster_bits,
        ),
        (
            OverlapChecks::SNAPSHOT_TABLE,
            header.snapshots_offset,
            state.snapshot_bytes,
        ),
    ];
    if let Some(known) = header.bitmaps {
        let directory = (known.directory_offset, known.directory_size);
        tables.push((OverlapChecks::BITMAP_DIRECTORY, directory.0, directory.1));
    }
    let snapshots = state.snapshots.iter();
    tables.extend(snapshots.map(|snapshot| {
        let bytes = u64::from(snapshot.l1_size) * 8;
        (OverlapChecks::INACTIVE_L1, snapshot.l1_offset, bytes)
    }));
    // What a damaged image says may be anywhere; nothing is written so far.
    tables.retain(|(_, start, bytes)| start.checked_add(*bytes).is_some());
    tables
}

fn name_of(check: OverlapChecks) -> &'static str {
    match check {
        OverlapChecks::ACTIVE_L1 => "active L1 table",
        OverlapChecks::REFCOUNT_TABLE => "refcount table",
        OverlapChecks::SNAPSHOT_TABLE => "snapshot table",
        OverlapChecks::BITMAP_DIRECTORY => "bitmap directory",
        _ => "inactive L1 table",
    }
}
