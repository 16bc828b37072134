//! Counting everything that refers to something.

use std::ops::Range;

use block_io::{Buffer, IoError, Preallocation};

use super::finding::{Qcow2Finding, Verdict};
use super::{Check, Counting, errno_words};
use crate::format::Limits;
use crate::format::bytes::be64;
use crate::format::entry::{
    ALL_STORED, ALL_ZERO, COMPRESSED, COPIED, CompressedRange, Entry, Kind, OFFSET, ZERO,
};
use crate::format::snapshot::Snapshot;
use crate::options::OverlapChecks;

/// Bits of a first-level entry that mean nothing.
const L1_RESERVED: u64 = 0x7f00_0000_0000_01ff;

/// Bits of a second-level entry that mean nothing, unless it is compressed.
const L2_RESERVED: u64 = 0x3f00_0000_0000_01fe;

/// Where a refcount block is.
pub(super) const BLOCK_OFFSET: u64 = !0x1ff;

/// How many bytes of a long table are looked at at once.
const PIECE: u64 = 1 << 20;

/// Which first-level table is being counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Guest,
    Snapshot,
}

/// What is to be done with an entry that was counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Keep,
    /// It becomes an entry of zeroes.
    Zero,
}

/// How many entries from the first on are the same but for what they refer
/// to, and refer to clusters of `size` bytes one behind the other.
pub(super) fn row(entries: &[u8], size: u64) -> usize {
    let first = be64(entries, 0);
    // Behind the last place there are flags.
    let most = ((OFFSET - (first & OFFSET)) / size).max(1) as usize;
    let mut expected = first;
    let follows = |entry: &&[u8]| {
        let is_next = **entry == expected.to_be_bytes();
        expected = expected.wrapping_add(size);
        is_next
    };
    let entries = entries.chunks_exact(8).take(most);
    entries.take_while(follows).count().max(1)
}

/// How many bytes of entries from the first on are zero.
fn zeroes(entries: &[u8]) -> usize {
    let is_zero = |entry: &&[u8]| **entry == [0; 8];
    entries.chunks_exact(8).take_while(is_zero).count() * 8
}

impl Check<'_> {
    /// Counts what lies in a range of the file.
    pub(super) fn uses(&mut self, offset: u64, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let size = self.geometry.cluster_size();
        // The last cluster of a file may be there in part.
        let limit = self.file_length.saturating_add(size);
        match offset.checked_add(bytes) {
            Some(end) if end < limit => {
                let bits = self.geometry.cluster_bits;
                for cluster in offset >> bits..=(end - 1) >> bits {
                    if self.uses.add(cluster).is_none() {
                        self.wrong(Qcow2Finding::Overflow(cluster << bits));
                    }
                }
            }
            _ => self.wrong(Qcow2Finding::BeyondEnd(offset, bytes)),
        }
    }

    /// Counts everything.
    pub(super) async fn count(
        &mut self,
        snapshots: &[Snapshot],
        snapshot_bytes: u64,
        counting: Counting,
    ) -> Result<(), IoError> {
        let size = self.geometry.cluster_size();
        self.clusters = block_io::Clusters {
            total: self.clusters.total,
            ..Default::default()
        };
        self.uses(0, size);
        let (offset, entries) = (self.header.l1_offset, u64::from(self.header.l1_size));
        self.l1(offset, entries, Of::Guest, counting).await?;
        if !self.geometry.keeps_data && !snapshots.is_empty() {
            self.wrong(Qcow2Finding::SnapshotsOutside(snapshots.len() as u32));
        }
        for snapshot in snapshots {
            let entries = u64::from(snapshot.l1_size);
            let (id, name) = (snapshot.shown_id(), snapshot.shown_name());
            if self.geometry.in_cluster(snapshot.l1_offset) != 0 {
                self.wrong(Qcow2Finding::SnapshotL1Unaligned {
                    id,
                    name,
                    offset: snapshot.l1_offset,
                });
            } else if entries * 8 > Limits::L1_BYTES {
                self.wrong(Qcow2Finding::SnapshotL1Large {
                    id,
                    name,
                    entries: snapshot.l1_size,
                });
            } else {
                let offset = snapshot.l1_offset;
                self.l1(offset, entries, Of::Snapshot, counting).await?;
            }
        }
        self.uses(self.header.snapshots_offset, snapshot_bytes);
        let table_bytes = u64::from(self.header.refcount_table_clusters) * size;
        self.uses(self.header.refcount_table_offset, table_bytes);
        self.bitmaps().await?;
        self.blocks(counting).await
    }

    /// Counts what a first-level table refers to.
    async fn l1(
        &mut self,
        offset: u64,
        entries: u64,
        of: Of,
        counting: Counting,
    ) -> Result<(), IoError> {
        self.uses(offset, entries * 8);
        let mut buffer = Buffer::zeroed((entries * 8).min(PIECE) as usize);
        // Behind the end of the file there are no entries.
        let end = offset
            .saturating_add(entries * 8)
            .min(self.file_length.next_multiple_of(8));
        let mut at = offset;
        while at < end {
            let bytes = (end - at).min(PIECE) as usize;
            let there = (self.file_length - at).min(bytes as u64) as usize;
            buffer.as_mut_slice()[there..bytes].fill(0);
            let (into, _) = buffer.destination().split_at(there);
            if let Err(error) = self.file.read(at, into).await {
                self.tell(&Qcow2Finding::L1Unreadable);
                return Err(error);
            }
            for word in 0..bytes / 8 {
                let entry = be64(buffer.as_slice(), word * 8);
                if entry != 0 {
                    self.l1_entry(entry, of, counting).await?;
                }
            }
            at += bytes as u64;
        }
        Ok(())
    }

    async fn l1_entry(&mut self, entry: u64, of: Of, counting: Counting) -> Result<(), IoError> {
        let size = self.geometry.cluster_size();
        if entry & L1_RESERVED != 0 {
            self.wrong(Qcow2Finding::L1Reserved(entry));
        }
        let offset = entry & OFFSET;
        self.uses(offset, size);
        if self.geometry.in_cluster(offset) != 0 {
            self.wrong(Qcow2Finding::L2Unaligned(offset));
        }
        let mut bytes = std::mem::take(&mut self.scratch);
        let end = self.file_length;
        let read = self
            .reader
            .read(self.file, offset, size as usize, end, &mut bytes)
            .await;
        let looked = match read {
            Err(error) => {
                self.tell(&Qcow2Finding::L2Unreadable);
                Err(error)
            }
            Ok(()) => self.l2(offset, &bytes, of, counting).await,
        };
        self.scratch = bytes;
        looked
    }

    /// Counts what a second-level table refers to.
    async fn l2(
        &mut self,
        offset: u64,
        bytes: &[u8],
        of: Of,
        counting: Counting,
    ) -> Result<(), IoError> {
        let size = self.geometry.cluster_size();
        let entry_bytes = self.geometry.words_per_entry * 8;
        // Most entries have nothing else than a place.
        let is_plain = self.geometry.keeps_data && entry_bytes == 8;
        let odd = L2_RESERVED | COMPRESSED | ZERO | (OFFSET & (size - 1));
        let mut follows = 0;
        let mut at = 0;
        while at < bytes.len() {
            let entry = Entry {
                word: be64(bytes, at),
                bitmap: if entry_bytes > 8 {
                    be64(bytes, at + 8)
                } else {
                    0
                },
            };
            if entry.word == 0 && entry.bitmap == 0 {
                at += zeroes(&bytes[at..]) / entry_bytes * entry_bytes;
                continue;
            }
            if is_plain && entry.word & odd == 0 && entry.host() != 0 {
                let count = row(&bytes[at..], size);
                let start = entry.host();
                let end = start + count as u64 * size;
                self.use_row(start..end, of, &mut follows);
                at += count * entry_bytes;
                continue;
            }
            let index = (at / entry_bytes) as u64;
            let then = self.l2_entry(index, entry, of, &mut follows, counting);
            if then == Then::Zero {
                self.zero_entry(offset + at as u64, of).await?;
            }
            at += entry_bytes;
        }
        Ok(())
    }

    /// Counts clusters that follow each other, in the guest as in the file.
    fn use_row(&mut self, row: Range<u64>, of: Of, follows: &mut u64) {
        if row.is_empty() {
            return;
        }
        let bits = self.geometry.cluster_bits;
        let size = self.geometry.cluster_size();
        let mut clusters = row.start >> bits..row.end >> bits;
        if of == Of::Guest {
            self.clusters.allocated += clusters.end - clusters.start;
            self.clusters.fragmented += u64::from(*follows != 0 && row.start != *follows);
            *follows = row.end;
        }
        if row.end >= self.file_length.saturating_add(size) {
            for cluster in clusters {
                self.uses(cluster << bits, size);
            }
            return;
        }
        while let Some(full) = self.uses.add_all(clusters.clone()) {
            self.wrong(Qcow2Finding::Overflow(full << bits));
            clusters.start = full + 1;
        }
    }

    /// Counts what a second-level entry refers to.
    #[inline]
    fn l2_entry(
        &mut self,
        index: u64,
        entry: Entry,
        of: Of,
        follows: &mut u64,
        counting: Counting,
    ) -> Then {
        let size = self.geometry.cluster_size();
        if entry.is_compressed() {
            self.compressed(index, entry, of);
            return Then::Keep;
        }
        if entry.word & L2_RESERVED != 0 {
            self.wrong(Qcow2Finding::L2Reserved(entry.word));
        }
        let extended = self.geometry.has_subclusters();
        // With subclusters it is the second word that says what is stored.
        let kind = entry.kind(false, 0, self.geometry.keeps_data);
        let offset = entry.host();
        let is_stored = match kind {
            Kind::Data | Kind::ZeroStored => true,
            _ => extended && offset != 0,
        };
        if !is_stored {
            if extended && entry.bitmap & ALL_STORED != 0 {
                self.wrong(Qcow2Finding::SubclustersNowhere);
            }
            return Then::Keep;
        }
        if (entry.bitmap >> 32) & entry.bitmap & ALL_STORED != 0 {
            self.wrong(Qcow2Finding::SubclusterBitmap(offset));
        }
        if self.geometry.in_cluster(offset) != 0 {
            let has_data = match extended {
                true => entry.bitmap & ALL_STORED != 0,
                false => kind == Kind::Data,
            };
            if has_data {
                self.wrong(Qcow2Finding::DataUnaligned(offset));
            } else if counting.repairs {
                let verdict = Verdict::Repairing;
                self.tell(&Qcow2Finding::ZeroUnaligned(verdict, offset));
                return Then::Zero;
            } else {
                self.wrong(Qcow2Finding::ZeroUnaligned(Verdict::Error, offset));
            }
        }
        if of == Of::Guest {
            self.clusters.allocated += 1;
            if *follows != 0 && offset != *follows {
                self.clusters.fragmented += 1;
            }
            *follows = offset + size;
        }
        if self.geometry.keeps_data {
            self.uses(offset, size);
        }
        Then::Keep
    }

    fn compressed(&mut self, index: u64, mut entry: Entry, of: Of) {
        let range = CompressedRange::of(entry.word, self.geometry.cluster_bits);
        if entry.word & COPIED != 0 {
            self.wrong(Qcow2Finding::CompressedCopied(range.start));
            entry.word &= !COPIED;
        }
        if !self.geometry.keeps_data {
            self.wrong(Qcow2Finding::CompressedOutside(index, entry.word));
            return;
        }
        if entry.bitmap != 0 {
            self.wrong(Qcow2Finding::CompressedSubclusters(index, entry.word));
            return;
        }
        self.uses(range.start, range.bytes);
        if of == Of::Guest {
            self.clusters.allocated += 1;
            self.clusters.compressed += 1;
            // They are so by nature.
            self.clusters.fragmented += 1;
        }
    }

    /// Replaces an entry by one of zeroes.
    async fn zero_entry(&mut self, at: u64, of: Of) -> Result<(), IoError> {
        let words: &[u64] = match self.geometry.has_subclusters() {
            true => &[0, ALL_ZERO],
            false => &[ZERO],
        };
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        let own = match of {
            Of::Guest => OverlapChecks::ACTIVE_L2,
            Of::Snapshot => OverlapChecks::INACTIVE_L2,
        };
        if let Err(error) = self.guard(at, bytes.len() as u64, own).await {
            self.tell(&Qcow2Finding::EntryOverlaps);
            return Err(error);
        }
        if let Err(error) = self.write(at, &bytes).await {
            let reason = errno_words(&error);
            self.tell(&Qcow2Finding::EntryUnwritable(reason));
            return Err(error);
        }
        self.found.corruptions_fixed += 1;
        Ok(())
    }

    /// Counts the bitmaps.
    async fn bitmaps(&mut self) -> Result<(), IoError> {
        let Some(known) = self.header.bitmaps else {
            return Ok(());
        };
        let size = self.geometry.cluster_size();
        self.uses(known.directory_offset, known.directory_size);
        let entries = super::read_directory(self.file, &known, size, self.file_length).await?;
        for entry in entries {
            let count = u64::from(entry.table_size);
            self.uses(entry.table_offset, count * 8);
            let end = entry
                .table_offset
                .saturating_add(count * 8)
                .min(self.file_length);
            let mut at = entry.table_offset;
            while at < end {
                let bytes = (end - at).min(PIECE);
                let text = "Failed to read bitmap table";
                let words = bytes.div_ceil(8);
                let table =
                    crate::open::read_words(self.file, at, words, self.file_length, text).await?;
                for word in table {
                    match crate::format::bitmap::Part::parse(word, size) {
                        Ok(crate::format::bitmap::Part::At(offset)) => self.uses(offset, size),
                        Ok(_) => {}
                        Err(_) => self.found.corruptions += 1,
                    }
                }
                at += words * 8;
            }
        }
        Ok(())
    }

    /// Counts the refcount blocks.
    async fn blocks(&mut self, counting: Counting) -> Result<(), IoError> {
        let (size, bits) = (self.geometry.cluster_size(), self.geometry.cluster_bits);
        for index in 0..self.table.len() {
            let entry = self.table[index];
            let index = index as u64;
            if entry == 0 {
                continue;
            }
            let offset = entry & BLOCK_OFFSET;
            let cluster = offset >> bits;
            if entry & !BLOCK_OFFSET != 0 {
                self.wrong(Qcow2Finding::TableReserved(index));
                self.needs_rebuild = true;
            } else if self.geometry.in_cluster(offset) != 0 {
                self.wrong(Qcow2Finding::BlockUnaligned(index));
                self.needs_rebuild = true;
            } else if cluster >= self.uses.clusters {
                if !counting.repairs {
                    self.wrong(Qcow2Finding::BlockOutside(Verdict::Error, index));
                    continue;
                }
                let verdict = Verdict::Repairing;
                self.tell(&Qcow2Finding::BlockOutside(verdict, index));
                match self.reach(offset).await {
                    Ok(()) => {
                        self.found.corruptions_fixed += 1;
                        self.uses(offset, size);
                    }
                    Err(error) => {
                        self.found.corruptions += 1;
                        self.needs_rebuild = true;
                        let reason = errno_words(&error);
                        self.tell(&Qcow2Finding::NoResize(reason));
                    }
                }
            } else {
                self.uses(offset, size);
                let count = self.uses.get(cluster);
                if count != 1 {
                    self.wrong(Qcow2Finding::BlockUsed(index, count));
                    self.needs_rebuild = true;
                }
            }
        }
        Ok(())
    }

    /// Makes the file reach a block that is beyond its end.
    async fn reach(&mut self, offset: u64) -> Result<(), IoError> {
        use block_common::error::errno;
        let size = self.geometry.cluster_size();
        let too_big = || IoError::from_errno(errno::EFBIG);
        let end = offset.checked_add(size);
        let end = end.filter(|end| *end <= i64::MAX as u64);
        let end = end.ok_or_else(|| IoError::from_errno(errno::EINVAL))?;
        let resized = match end >> self.geometry.cluster_bits > super::MAX_CLUSTERS {
            true => Err(too_big()),
            false => self.file.truncate(end, false, Preallocation::Off).await,
        };
        if let Err(error) = resized {
            let reason = errno_words(&error);
            self.tell(&Qcow2Finding::ResizeReport(reason));
            return Err(error);
        }
        self.reader.forget();
        self.wrote = true;
        self.file_length = self.file.length().await?;
        let clusters = self.geometry.clusters_of(self.file_length);
        self.uses.clusters = self.uses.clusters.max(clusters);
        match offset >> self.geometry.cluster_bits < self.uses.clusters {
            true => Ok(()),
            false => Err(IoError::from_errno(errno::EINVAL)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn a_row_ends_where_something_else_is() {
        let size = 4096;
        let own = |cluster: u64| COPIED | (cluster * size);
        let words = [own(5), own(6), own(7), own(9), own(10)];
        assert_eq!(row(&bytes(&words), size), 3);
        assert_eq!(row(&bytes(&words[3..]), size), 2);
        assert_eq!(row(&bytes(&[own(5), 6 * size]), size), 1);
        // What follows the last place is no place.
        let last = OFFSET & !(size - 1);
        assert_eq!(row(&bytes(&[last, last + size]), size), 1);
        assert_eq!(row(&bytes(&[last - size, last]), size), 1);
    }

    #[test]
    fn zeroes_end_where_a_word_is_not() {
        assert_eq!(zeroes(&bytes(&[0, 0, 0, 8, 0])), 24);
        assert_eq!(zeroes(&bytes(&[])), 0);
    }
}
