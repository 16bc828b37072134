//! Metadata is not given out as if it were free, nor written over as if it
//! were data (`qcow2_pre_write_overlap_check`).
//!
//! In an image whose counts are right neither can happen, so requests pay for
//! nothing: clusters are looked at when they are taken again, and entries when
//! they are read from the file. Only an image that has shown something wrong
//! is looked at with each write.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use block_io::{IoError, Request};

use crate::cache::entry_at;
use crate::format::entry::OFFSET;
use crate::image::{Image, State};
use crate::options::OverlapChecks;
use crate::refs::Claim;

impl Image {
    /// Which metadata is in these bytes of the file, if any that is looked at.
    fn metadata_in(&self, state: &State, bytes: &Range<u64>) -> Option<&'static str> {
        let checks = self.settings.lock().overlap_checks;
        let header = &state.header;
        let size = self.geometry.cluster_size();
        let overlaps = |offset: u64, length: u64| {
            length > 0 && offset < bytes.end && offset.saturating_add(length) > bytes.start
        };
        let l1_bytes = u64::from(header.l1_size) * 8;
        let table_bytes = u64::from(header.refcount_table_clusters) * size;
        let bitmaps = header.bitmaps.map_or((0, 0), |known| {
            (known.directory_offset, known.directory_size)
        });
        let constant = [
            (OverlapChecks::MAIN_HEADER, "qcow2_header", 0, size),
            (
                OverlapChecks::ACTIVE_L1,
                "active L1 table",
                header.l1_offset,
                l1_bytes,
            ),
            (
                OverlapChecks::REFCOUNT_TABLE,
                "refcount table",
                header.refcount_table_offset,
                table_bytes,
            ),
            (
                OverlapChecks::SNAPSHOT_TABLE,
                "snapshot table",
                header.snapshots_offset,
                state.snapshot_bytes,
            ),
            (
                OverlapChecks::BITMAP_DIRECTORY,
                "bitmap directory",
                bitmaps.0,
                bitmaps.1,
            ),
        ];
        let found = constant.into_iter().find(|(check, _, offset, length)| {
            checks.contains(*check) && overlaps(*offset, *length)
        });
        if let Some((_, name, _, _)) = found {
            return Some(name);
        }
        let at_table = |entry: u64| entry & OFFSET != 0 && overlaps(entry & OFFSET, size);
        let is_l2 = || (0..u64::from(header.l1_size)).any(|index| at_table(self.l1.get(index)));
        if checks.contains(OverlapChecks::ACTIVE_L2) && is_l2() {
            return Some("active L2 table");
        }
        let is_block = || state.refs.table.iter().any(|entry| at_table(*entry));
        if checks.contains(OverlapChecks::REFCOUNT_BLOCK) && is_block() {
            return Some("refcount block");
        }
        let is_inactive = state
            .snapshots
            .iter()
            .any(|snapshot| overlaps(snapshot.l1_offset, u64::from(snapshot.l1_size) * 8));
        (is_inactive && checks.contains(OverlapChecks::INACTIVE_L1)).then_some("inactive L1 table")
    }

    /// Refuses clusters that were counted as free and are not; `what` is going
    /// to be there.
    ///
    /// # Errors
    /// `EIO`; the image is marked as corrupt.
    pub async fn check_claim(
        &self,
        request: Request<'_>,
        claim: &Claim,
        what: &str,
    ) -> Result<(), IoError> {
        if claim.clusters.start == 0 {
            let text = format!("Preventing invalid allocation of {what} at offset 0");
            return Err(self.corrupted(request, &text).await);
        }
        if claim.is_fresh {
            // Nothing has ever been written there.
            return Ok(());
        }
        let bits = self.geometry.cluster_bits;
        self.check_place(
            request,
            claim.clusters.start << bits..claim.clusters.end << bits,
        )
        .await
    }

    /// Refuses to write over metadata.
    ///
    /// # Errors
    /// `EIO`; the image is marked as corrupt.
    pub async fn check_place(
        &self,
        request: Request<'_>,
        bytes: Range<u64>,
    ) -> Result<(), IoError> {
        let found = self.metadata_in(&self.lock(), &bytes);
        let Some(name) = found else {
            return Ok(());
        };
        let kind = match name.starts_with("inactive") {
            true => "inactive metadata",
            false => "metadata",
        };
        let text = format!("Preventing invalid write on {kind} (overlaps with {name})");
        Err(self.corrupted(request, &text).await)
    }

    /// As [`check_place`](Image::check_place), for data that is written where
    /// it was.
    pub async fn check_in_place(
        &self,
        request: Request<'_>,
        bytes: Range<u64>,
    ) -> Result<(), IoError> {
        match self.geometry.keeps_data && self.is_suspicious.load(Ordering::Relaxed) {
            true => self.check_place(request, bytes).await,
            false => Ok(()),
        }
    }

    /// Looks whether entries that were read from the file call metadata the
    /// guest's own. Under the lock of the state.
    pub fn suspect(&self, state: &State, words: &[AtomicU64]) {
        if !self.geometry.keeps_data || self.is_suspicious.load(Ordering::Relaxed) {
            return;
        }
        let per_entry = self.geometry.words_per_entry;
        let size = self.geometry.cluster_size();
        let entries = (0..words.len() / per_entry).map(|index| entry_at(words, index, per_entry));
        let own = entries.filter(|entry| entry.is_own() && entry.host() != 0);
        let mut hosts: Vec<u64> = own.map(|entry| entry.host() & !(size - 1)).collect();
        if hosts.is_empty() {
            return;
        }
        hosts.sort_unstable();
        let header = &state.header;
        let is_host = |offset: u64| hosts.binary_search(&offset).is_ok();
        let among = |offset: u64, length: u64| {
            let at = hosts.partition_point(|host| host + size <= offset);
            length > 0
                && hosts
                    .get(at)
                    .is_some_and(|host| *host < offset.saturating_add(length))
        };
        let is_table = |entry: u64| entry & OFFSET != 0 && is_host(entry & OFFSET);
        let clusters = u64::from(header.refcount_table_clusters);
        let found = among(header.l1_offset, u64::from(header.l1_size) * 8)
            || among(header.refcount_table_offset, clusters * size)
            || among(header.snapshots_offset, state.snapshot_bytes)
            || (0..u64::from(header.l1_size)).any(|index| is_table(self.l1.get(index)))
            || state.refs.table.iter().any(|entry| is_table(*entry));
        if found {
            self.is_suspicious.store(true, Ordering::Relaxed);
        }
    }
}
