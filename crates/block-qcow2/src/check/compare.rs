//! Comparing the stored counts with what was counted.

use std::ops::Range;

use block_io::IoError;

use super::finding::{Qcow2Finding, Verdict};
use super::tables::BLOCK_OFFSET;
use super::{Check, errno_words};
use crate::format::Hex;
use crate::options::OverlapChecks;
use block_io::Repairs;

/// What a refcount block stores where it is not what was counted.
pub(super) enum Stored {
    /// These counts.
    Counts(Box<[u8]>),
    /// It cannot be read.
    Unreadable,
}

impl Check<'_> {
    /// The next block from `index` on that is stored, or in which something
    /// was counted.
    fn next_block(&self, index: u64) -> Option<u64> {
        let rest = usize::try_from(index)
            .ok()
            .and_then(|index| self.table.get(index..))
            .unwrap_or_default();
        let is_there = |entry: &u64| *entry & BLOCK_OFFSET != 0;
        let stored = rest.iter().position(is_there);
        let stored = stored.map(|more| index + more as u64);
        let counted = self.uses.next(index);
        stored.into_iter().chain(counted).min()
    }

    /// Reads a block of counts. `None` for one that is not there.
    async fn read_block(&mut self, index: u64, to: &mut Vec<u8>) -> Result<Option<()>, IoError> {
        let entry = self.table.get(index as usize).copied().unwrap_or(0);
        let offset = entry & BLOCK_OFFSET;
        if offset == 0 {
            return Ok(None);
        }
        if self.geometry.in_cluster(offset) != 0 {
            let text = format!(
                "Refblock offset {offset:#x} unaligned (reftable index: {})",
                Hex(index)
            );
            return Err(self.corrupted(&text).await);
        }
        let (length, end) = (self.geometry.cluster_size() as usize, self.file_length);
        self.reader.read(self.file, offset, length, end, to).await?;
        Ok(Some(()))
    }

    /// Compares the counts, and changes those it is told to.
    pub(super) async fn compare(&mut self, repairs: Repairs) -> Result<(), IoError> {
        self.stored.clear();
        self.highest = 0;
        let bits = self.geometry.block_bits;
        let mut bytes = Vec::new();
        let mut next = 0;
        while let Some(index) = self.next_block(next) {
            let clusters = index << bits..((index + 1) << bits).min(self.uses.clusters);
            if clusters.is_empty() {
                break;
            }
            next = index + 1;
            match self.read_block(index, &mut bytes).await {
                Err(error) => {
                    let reason = errno_words(&error);
                    for cluster in clusters {
                        self.tell(&Qcow2Finding::NoCount(cluster, reason.clone()));
                        self.found.check_errors += 1;
                    }
                    self.stored.insert(index, Stored::Unreadable);
                    continue;
                }
                Ok(None) => {
                    bytes.clear();
                    bytes.resize(self.geometry.cluster_size() as usize, 0);
                }
                Ok(Some(())) => {}
            }
            let is_same = self.uses.look(index).map_or_else(
                || bytes.iter().all(|byte| *byte == 0),
                |counted| counted == &*bytes,
            );
            if is_same {
                self.note_highest(&bytes, &clusters);
            } else {
                self.compare_block(index, clusters, &mut bytes, repairs)
                    .await?;
            }
        }
        Ok(())
    }

    /// Notes the last cluster of these that is counted.
    fn note_highest(&mut self, bytes: &[u8], clusters: &Range<u64>) {
        let count = (clusters.end - clusters.start) as usize;
        let counts = self.geometry.counts;
        // Bytes are looked at first, and counts only where one is not zero.
        let last = bytes.iter().rposition(|byte| *byte != 0);
        let Some(last) = last else {
            return;
        };
        let end = counts.per(last as u64 + 1).max(1) as usize;
        let used = (0..end.min(count)).rev();
        if let Some(at) = used.into_iter().find(|at| counts.get(bytes, *at) > 0) {
            self.highest = self.highest.max(clusters.start + at as u64);
        }
    }

    async fn compare_block(
        &mut self,
        index: u64,
        clusters: Range<u64>,
        bytes: &mut Vec<u8>,
        repairs: Repairs,
    ) -> Result<(), IoError> {
        let counts = self.geometry.counts;
        let first = clusters.start;
        let mut changed: Option<Range<usize>> = None;
        let mut given_up: Vec<Range<u64>> = Vec::new();
        for cluster in clusters {
            let at = (cluster - first) as usize;
            let (stored, used) = (counts.get(bytes, at), self.uses.get(cluster));
            if stored > 0 || used > 0 {
                self.highest = cluster;
            }
            if stored == used {
                continue;
            }
            let is_leak = stored > used;
            let repair = match is_leak {
                true => repairs.contains(Repairs::LEAKS),
                // Where nothing is counted a block may be lost.
                false => stored > 0 && repairs.contains(Repairs::ERRORS),
            };
            self.needs_rebuild |= stored == 0;
            let verdict = match (repair, is_leak) {
                (true, _) => Verdict::Repairing,
                (false, false) => Verdict::Error,
                (false, true) => Verdict::Leaked,
            };
            self.tell(&Qcow2Finding::Count {
                verdict,
                cluster,
                stored,
                used,
            });
            let number = match (repair, is_leak) {
                (true, true) => &mut self.found.leaks_fixed,
                (true, false) => &mut self.found.corruptions_fixed,
                (false, true) => &mut self.found.leaks,
                (false, false) => &mut self.found.corruptions,
            };
            *number += 1;
            if !repair {
                continue;
            }
            counts.set(bytes, at, used);
            let (byte, last) = (counts.byte_of(at), counts.byte_of(at + 1).max(1));
            let end = last.max(byte + 1);
            changed = Some(changed.map_or(byte..end, |range| range.start..end));
            if used == 0 {
                match given_up.last_mut() {
                    Some(range) if range.end == cluster => range.end += 1,
                    _ => given_up.push(cluster..cluster + 1),
                }
            }
        }
        if let Some(range) = changed {
            let offset = self.table[index as usize] & BLOCK_OFFSET;
            let size = self.geometry.cluster_size();
            self.guard(offset, size, OverlapChecks::REFCOUNT_BLOCK)
                .await?;
            let part = bytes[range.clone()].to_vec();
            self.write(offset + range.start as u64, &part).await?;
            let bits = self.geometry.cluster_bits;
            for clusters in given_up {
                let length = (clusters.end - clusters.start) << bits;
                // The file need not be able to.
                let _ = self.file.discard(clusters.start << bits, length).await;
            }
        }
        let is_same = self.uses.piece(index).is_some_and(|used| used == &**bytes);
        if !is_same {
            let bytes = bytes.clone().into_boxed_slice();
            self.stored.insert(index, Stored::Counts(bytes));
        }
        Ok(())
    }

    /// How often a cluster is counted in the file. `None` where that cannot be
    /// said, which has been told.
    #[inline]
    pub(super) async fn stored(&mut self, cluster: u64) -> Option<u64> {
        match self.stored_near(cluster) {
            Some(stored) => stored,
            None => self.stored_far(cluster).await,
        }
    }

    /// As [`stored`](Check::stored), if nothing has to be read for it.
    #[inline]
    pub(super) fn stored_near(&mut self, cluster: u64) -> Option<Option<u64>> {
        if cluster >= self.uses.clusters || !self.stored.is_empty() {
            return self.stored_otherwise(cluster);
        }
        // It is what was counted.
        Some(Some(self.uses.get_near(cluster)))
    }

    /// As [`stored_near`](Check::stored_near), where there are blocks that
    /// store something else than what was counted.
    fn stored_otherwise(&mut self, cluster: u64) -> Option<Option<u64>> {
        let bits = self.geometry.block_bits;
        let (index, at) = (cluster >> bits, cluster & ((1 << bits) - 1));
        match self.stored.get(&index) {
            Some(Stored::Counts(bytes)) => Some(Some(self.geometry.counts.get(bytes, at as usize))),
            Some(Stored::Unreadable) => Some(None),
            None if index << bits < self.uses.clusters => Some(Some(self.uses.get_near(cluster))),
            None => None,
        }
    }

    /// As [`stored`](Check::stored), behind the end of the file.
    pub(super) async fn stored_far(&mut self, cluster: u64) -> Option<u64> {
        let bits = self.geometry.block_bits;
        let (index, at) = (cluster >> bits, (cluster & ((1 << bits) - 1)) as usize);
        if self.far.0 != Some(index) {
            let mut bytes = std::mem::take(&mut self.far.1);
            self.far.0 = None;
            let read = self.read_block(index, &mut bytes).await;
            if let Ok(None) = read {
                bytes.clear();
            }
            self.far.1 = bytes;
            read.ok()?;
            self.far.0 = Some(index);
        }
        match self.far.1.is_empty() {
            true => Some(0),
            false => Some(self.geometry.counts.get(&self.far.1, at)),
        }
    }
}
