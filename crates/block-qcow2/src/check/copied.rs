//! Whether entries say rightly what may be written in place: what is counted
//! once.

use block_io::{IoError, Repairs};

use super::finding::{Qcow2Finding, Verdict};
use super::{Check, errno_words};
use crate::format::bytes::{be64, put64};
use crate::format::entry::{COPIED, Entry, Kind, OFFSET};
use crate::options::OverlapChecks;

impl Check<'_> {
    /// Looks at the flags of the guest's tables.
    pub(super) async fn copied(&mut self) -> Result<(), IoError> {
        let found = &self.found;
        // Who only wants leaks to be repaired has flags repaired that are
        // wrong because of them.
        let nothing_else = found.corruptions == 0 && found.leaks == 0 && found.check_errors == 0;
        let repair = self.repairs.contains(Repairs::ERRORS)
            || self.repairs.contains(Repairs::LEAKS) && nothing_else;
        let bits = self.geometry.cluster_bits;
        for index in 0..self.l1.len() {
            let entry = self.l1[index];
            let offset = entry & OFFSET;
            if offset == 0 {
                continue;
            }
            let Some(count) = self.stored(offset >> bits).await else {
                continue;
            };
            if (count == 1) != (entry & COPIED != 0) {
                let finding = Qcow2Finding::CopiedTable {
                    verdict: Verdict::of(repair),
                    index: index as u64,
                    entry,
                    count,
                };
                self.tell(&finding);
                match repair {
                    true => self.set_l1(index, entry ^ COPIED).await?,
                    false => self.found.corruptions += 1,
                }
            }
            self.copied_table(offset, repair).await?;
        }
        Ok(())
    }

    async fn set_l1(&mut self, index: usize, entry: u64) -> Result<(), IoError> {
        let at = self.header.l1_offset + index as u64 * 8;
        // Once for each cluster is enough.
        let cluster = at >> self.geometry.cluster_bits;
        if self.guarded != Some(cluster) {
            self.guard(at, 8, OverlapChecks::ACTIVE_L1).await?;
            self.guarded = Some(cluster);
        }
        self.write(at, &entry.to_be_bytes()).await?;
        self.l1[index] = entry;
        self.found.corruptions_fixed += 1;
        Ok(())
    }

    async fn copied_table(&mut self, offset: u64, repair: bool) -> Result<(), IoError> {
        let (size, end) = (self.geometry.cluster_size(), self.file_length);
        let mut bytes = std::mem::take(&mut self.scratch);
        let read = self
            .reader
            .read(self.file, offset, size as usize, end, &mut bytes)
            .await;
        if let Err(error) = read {
            self.scratch = bytes;
            self.tell(&Qcow2Finding::TableUnreadable(errno_words(&error)));
            return Err(error);
        }
        let changed = self.copied_entries(&mut bytes, repair).await;
        let written = match changed {
            0 => Ok(()),
            changed => self.write_table(offset, &bytes, changed).await,
        };
        self.scratch = bytes;
        written
    }

    /// Looks at the entries of a table, and says how many were changed.
    async fn copied_entries(&mut self, bytes: &mut [u8], repair: bool) -> u64 {
        let bits = self.geometry.cluster_bits;
        let step = self.geometry.words_per_entry * 8;
        let extended = self.geometry.has_subclusters();
        let keeps_data = self.geometry.keeps_data;
        let mut changed = 0;
        for at in (0..bytes.len()).step_by(step) {
            let entry = Entry {
                word: be64(bytes, at),
                bitmap: 0,
            };
            if entry.word == 0 {
                continue;
            }
            let kind = entry.kind(false, 0, keeps_data);
            let is_stored = match kind {
                Kind::Data | Kind::ZeroStored => true,
                Kind::Compressed => false,
                _ => extended && entry.host() != 0,
            };
            if !is_stored {
                continue;
            }
            let count = match keeps_data {
                false => Some(1),
                true => match self.stored_near(entry.host() >> bits) {
                    Some(stored) => stored,
                    None => self.stored_far(entry.host() >> bits).await,
                },
            };
            let Some(count) = count else { continue };
            if (count == 1) == (entry.word & COPIED != 0) {
                continue;
            }
            self.tell(&Qcow2Finding::CopiedCluster {
                verdict: Verdict::of(repair),
                entry: entry.word,
                count,
            });
            match repair {
                true => {
                    put64(bytes, at, entry.word ^ COPIED);
                    changed += 1;
                }
                false => self.found.corruptions += 1,
            }
        }
        changed
    }

    async fn write_table(
        &mut self,
        offset: u64,
        bytes: &[u8],
        changed: u64,
    ) -> Result<(), IoError> {
        let length = bytes.len() as u64;
        if let Err(error) = self.guard(offset, length, OverlapChecks::ACTIVE_L2).await {
            self.tell(&Qcow2Finding::TableOverlaps(errno_words(&error)));
            return Err(error);
        }
        if let Err(error) = self.write(offset, bytes).await {
            self.tell(&Qcow2Finding::TableUnwritable(errno_words(&error)));
            return Err(error);
        }
        self.found.corruptions_fixed += changed;
        Ok(())
    }
}
