//! The table of snapshots: whether it can be read, and what is repaired of
//! it.

use block_common::error::errno;
use block_io::{IoError, Repairs};

use super::finding::{Qcow2Finding, Verdict};
use super::{Check, errno_words};
use crate::format::snapshot::{self, FIXED, Lengths, MAX_EXTRA, Snapshot};
use crate::format::{FormatError, Limits, check_table};

/// Where the header says how many snapshots there are, in bytes.
const COUNT_IN_HEADER: u64 = 60;

/// The snapshots as they are stored.
#[derive(Default)]
pub(super) struct SnapshotTable {
    pub all: Vec<Snapshot>,
    /// How long the table is, in bytes.
    pub bytes: u64,
    /// How much of it has to be written again.
    pub to_fix: u64,
    dropped_extra: u64,
    overhanging: u32,
}

impl Check<'_> {
    /// Reads the table, and leaves out what cannot be.
    pub(super) async fn snapshots(&mut self) -> Result<SnapshotTable, IoError> {
        let repair = self.repairs.contains(Repairs::ERRORS);
        let stored = self.header.snapshot_count;
        let too_many = stored.saturating_sub(Limits::SNAPSHOTS);
        let mut count = stored;
        if too_many > 0 && repair {
            self.tell(&Qcow2Finding::DiscardingSnapshots(too_many));
            count = Limits::SNAPSHOTS;
        }
        let most = FIXED as u64 * u64::from(Limits::SNAPSHOTS);
        let (offset, size) = (self.header.snapshots_offset, self.geometry.cluster_size());
        let entry = FIXED as u64;
        let valid = check_table(
            "snapshot table",
            offset,
            u64::from(count),
            entry,
            most,
            size,
        );
        if let Err(error) = valid {
            self.tell(&Qcow2Finding::SnapshotTable(error.to_string()));
            if too_many > 0 {
                self.tell(&Qcow2Finding::TooManySnapshots(too_many));
            }
            return Err(error.into());
        }
        let table = self.read_table(count, repair).await?;
        let kept = table.all.len() as u32;
        let gone = too_many + table.overhanging;
        if gone > 0 {
            if let Err(error) = self.write(COUNT_IN_HEADER, &kept.to_be_bytes()).await {
                let reason = errno_words(&error);
                self.tell(&Qcow2Finding::SnapshotCountUnwritable(reason));
                return Err(error);
            }
            self.header.snapshot_count = kept;
            self.found.corruptions_fixed += u64::from(gone);
        }
        Ok(table)
    }

    async fn read_table(&mut self, count: u32, repair: bool) -> Result<SnapshotTable, IoError> {
        let mut table = SnapshotTable::default();
        let mut incomplete = Vec::new();
        let start = self.header.snapshots_offset;
        let mut at: u64 = 0;
        let mut fixed = Vec::new();
        let (mut extra, mut names) = (Vec::new(), Vec::new());
        for index in 0..count {
            let before = at;
            at = at.next_multiple_of(8);
            self.part(start + at, FIXED, &mut fixed).await?;
            let lengths = Lengths::of(&fixed);
            if lengths.extra > MAX_EXTRA {
                if !repair {
                    let error = FormatError::SnapshotExtra(index);
                    let hint = Qcow2Finding::ExtraDataHint;
                    return Err(self.unreadable(&error.to_string(), hint));
                }
                let (there, most) = (lengths.extra as u32, MAX_EXTRA as u32);
                self.tell(&Qcow2Finding::DiscardingExtraData(index, there, most));
                table.dropped_extra += 1;
            }
            let kept = lengths.extra.min(MAX_EXTRA);
            self.part(start + at + FIXED as u64, kept, &mut extra)
                .await?;
            let named = start + at + lengths.names_at() as u64;
            self.part(named, lengths.id + lengths.name, &mut names)
                .await?;
            at += lengths.all() as u64;
            if at > Limits::SNAPSHOT_TABLE_BYTES {
                let overhanging = count - index;
                if !repair {
                    let hint = Qcow2Finding::TooManySnapshots(overhanging);
                    return Err(self.unreadable("Snapshot table is too big", hint));
                }
                self.tell(&Qcow2Finding::DiscardingLongTable(overhanging));
                table.overhanging = overhanging;
                at = before;
                break;
            }
            if !lengths.is_complete() {
                incomplete.push(index);
            }
            let read = snapshot::read(&fixed, &extra, &names, lengths, self.header.size);
            table.all.push(read);
        }
        table.bytes = at;
        if self.header.version >= 3 {
            for index in &incomplete {
                let finding = Qcow2Finding::SnapshotIncomplete(Verdict::of(repair), *index);
                self.tell(&finding);
            }
            match repair {
                true => table.to_fix = incomplete.len() as u64,
                false => self.found.corruptions += incomplete.len() as u64,
            }
        }
        table.to_fix += table.dropped_extra;
        Ok(table)
    }

    /// Reads a part of the table.
    async fn part(&mut self, at: u64, length: usize, to: &mut Vec<u8>) -> Result<(), IoError> {
        let end = self.file_length;
        let read = self.reader.read(self.file, at, length, end, to).await;
        if let Err(error) = &read {
            let text = format!("Failed to read snapshot table: {}", errno_words(error));
            self.tell(&Qcow2Finding::SnapshotTableUnreadable(text));
        }
        read
    }

    fn unreadable(&mut self, text: &str, hint: Qcow2Finding) -> IoError {
        self.tell(&Qcow2Finding::SnapshotTableUnreadable(text.to_owned()));
        self.tell(&hint);
        IoError::from_errno(errno::EFBIG)
    }
}
