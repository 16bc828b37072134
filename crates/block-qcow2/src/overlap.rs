//! What must not be overwritten by data (`overlap-check`).
//!
//! In an image whose counts are wrong a cluster may be given out, or written
//! in place, that holds metadata. So every write is compared with where
//! metadata is. A filter that says "not here" in a few steps stands before
//! the exact look. Where snapshots have second-level tables is not in memory:
//! who wants them to be looked at, too, has every write looked at closely.
//!
//! Tables themselves are compared when they are stored: one may be where
//! another one is.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use block_io::{IoError, Request};

use crate::format::entry::OFFSET;
use crate::format::{Limits, check_table};
use crate::image::{Image, State};
use crate::open::read_there;
use crate::options::OverlapChecks;
use crate::refs::Claim;

/// How many bits the filter has, as a power of two.
const BITS: u32 = 16;

/// Clusters that may hold metadata. Says yes too often, never no where it
/// should say yes.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    bits: Arc<[AtomicU64]>,
    /// The table had no block of counts from this one on when it was read.
    blocks_end: Arc<AtomicUsize>,
}

impl Filter {
    pub fn new() -> Filter {
        Filter {
            bits: (0..1 << (BITS - 6)).map(|_| AtomicU64::new(0)).collect(),
            blocks_end: Arc::default(),
        }
    }

    fn place(cluster: u64) -> (usize, u64) {
        let bit = cluster.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BITS);
        ((bit >> 6) as usize, 1 << (bit & 63))
    }

    pub fn add(&self, cluster: u64) {
        let (word, mask) = Filter::place(cluster);
        self.bits[word].fetch_or(mask, Ordering::Relaxed);
    }

    /// Nothing can be said without a closer look any more.
    fn fill(&self) {
        for word in &*self.bits {
            word.store(u64::MAX, Ordering::Relaxed);
        }
    }

    #[inline]
    fn may_have(&self, cluster: u64) -> bool {
        let (word, mask) = Filter::place(cluster);
        self.bits[word].load(Ordering::Relaxed) & mask != 0
    }
}

impl Image {
    /// Notes where all metadata is.
    pub fn note_metadata(&self) {
        let checks = self.settings.lock().overlap_checks;
        let state = self.lock();
        let last = state.refs.table.iter().rposition(|entry| *entry != 0);
        let end = last.map_or(0, |last| last + 1);
        self.filter.blocks_end.store(end, Ordering::Relaxed);
        if checks.contains(OverlapChecks::INACTIVE_L2) && !state.snapshots.is_empty() {
            // Where their second-level tables are is not kept in memory.
            self.filter.fill();
            return;
        }
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
        for table in self.l1.tables(u64::from(state.header.l1_size)) {
            self.filter.add(table >> bits);
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
    /// wrong; `what` was to be there, `None` for what QEMU has no word for.
    ///
    /// # Errors
    /// `EIO`; the image is marked as corrupt.
    pub async fn check_claim(
        &self,
        request: Request<'_>,
        claim: &Claim,
        what: Option<&str>,
    ) -> Result<(), IoError> {
        if claim.clusters.start > 0 {
            return Ok(());
        }
        let text = match what {
            Some(what) => format!("Preventing invalid allocation of {what} at offset 0"),
            None => {
                let header = name_of(OverlapChecks::MAIN_HEADER);
                format!("Preventing invalid write on metadata (overlaps with {header})")
            }
        };
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
        self.check_metadata(request, host, bytes, OverlapChecks::empty())
            .await
    }

    /// As [`check_overlap`](Image::check_overlap), for what may overwrite what
    /// is its `own`. Looks closely.
    pub async fn check_metadata(
        &self,
        request: Request<'_>,
        host: u64,
        bytes: u64,
        own: OverlapChecks,
    ) -> Result<(), IoError> {
        let checks = self.settings.lock().overlap_checks - own;
        let mut found = self.overlaps(host, bytes, checks);
        let inactive = OverlapChecks::INACTIVE_L2;
        if found.is_none_or(|found| found.bits() > inactive.bits())
            && checks.contains(inactive)
            && self.overlaps_inactive(request, host, bytes).await?
        {
            found = Some(inactive);
        }
        let Some(found) = found else {
            return Ok(());
        };
        let name = name_of(found);
        let text = format!("Preventing invalid write on metadata (overlaps with {name})");
        let range = host..host + bytes;
        Err(self.corrupted_at(request, &text, Some(range)).await)
    }

    /// Which clusters a write touches, in bytes.
    fn touched(&self, host: u64, bytes: u64) -> Range<u64> {
        let size = self.geometry.cluster_size();
        let end = host.saturating_add(bytes);
        host & !(size - 1)..end.checked_next_multiple_of(size).unwrap_or(u64::MAX)
    }

    /// What there is that these bytes would overwrite: the first of all, in
    /// the order of the checks. Second-level tables of snapshots are not
    /// looked at.
    fn overlaps(&self, host: u64, bytes: u64, checks: OverlapChecks) -> Option<OverlapChecks> {
        let state = self.lock();
        let size = self.geometry.cluster_size();
        let range = self.touched(host, bytes);
        let hits = |start: u64, bytes: u64| {
            bytes > 0 && start < range.end && range.start < start.saturating_add(bytes)
        };
        let tables = tables(&state).into_iter();
        let mut found = tables
            .filter(|(check, start, bytes)| checks.contains(*check) && hits(*start, *bytes))
            .map(|(check, ..)| check)
            .min_by_key(OverlapChecks::bits);
        let mut or = |check: OverlapChecks, is_hit: &dyn Fn() -> bool| {
            let is_first = found.is_none_or(|found| check.bits() < found.bits());
            if is_first && checks.contains(check) && is_hit() {
                found = Some(check);
            }
        };
        or(OverlapChecks::MAIN_HEADER, &|| hits(0, size));
        or(OverlapChecks::ACTIVE_L2, &|| {
            let mut tables = self.l1.tables(u64::from(state.header.l1_size));
            tables.any(|table| hits(table, size))
        });
        or(OverlapChecks::REFCOUNT_BLOCK, &|| {
            // Blocks that were made since count what was written since.
            let made = (state.refs.fresh >> state.refs.block_bits()) as usize + 1;
            let end = made.max(self.filter.blocks_end.load(Ordering::Relaxed));
            let blocks = state.refs.table.iter().take(end);
            blocks
                .map(|entry| entry & OFFSET)
                .filter(|offset| *offset != 0)
                .any(|offset| hits(offset, size))
        });
        found
    }

    /// Whether these bytes would overwrite a second-level table of a snapshot.
    /// The first-level tables are read, as QEMU reads them for every write if
    /// it is told to look.
    async fn overlaps_inactive(
        &self,
        request: Request<'_>,
        host: u64,
        bytes: u64,
    ) -> Result<bool, IoError> {
        let snapshots: Vec<(u64, u64)> = {
            let state = self.lock();
            let tables = state.snapshots.iter();
            tables
                .map(|known| (known.l1_offset, u64::from(known.l1_size)))
                .collect()
        };
        if snapshots.is_empty() {
            return Ok(false);
        }
        let file = request.file()?;
        let length = file.length().await?;
        let size = self.geometry.cluster_size();
        let range = self.touched(host, bytes);
        for (offset, entries) in snapshots {
            let (name, most) = ("Snapshot L1 table", Limits::L1_BYTES);
            check_table(name, offset, entries, 8, most, size)?;
            let text = "Failed to read snapshot L1 table";
            let table = read_there(file, offset, entries, length, text).await?;
            let is_hit = |entry: &u64| {
                let table = entry & OFFSET;
                table != 0 && table < range.end && range.start < table.saturating_add(size)
            };
            if table.iter().any(is_hit) {
                return Ok(true);
            }
        }
        Ok(false)
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
        OverlapChecks::MAIN_HEADER => "qcow2_header",
        OverlapChecks::ACTIVE_L1 => "active L1 table",
        OverlapChecks::ACTIVE_L2 => "active L2 table",
        OverlapChecks::REFCOUNT_TABLE => "refcount table",
        OverlapChecks::REFCOUNT_BLOCK => "refcount block",
        OverlapChecks::SNAPSHOT_TABLE => "snapshot table",
        OverlapChecks::INACTIVE_L1 => "inactive L1 table",
        OverlapChecks::INACTIVE_L2 => "inactive L2 table",
        _ => "bitmap directory",
    }
}
