//! Whether an image is one that QEMU could have made, as far as it matters for
//! what is demanded of the driver: no cluster is used for two things.
//!
//! Counted here and not by the driver's own check, which is under test too.

use std::collections::HashMap;

use block_qcow2::format::entry::{COPIED, CompressedRange, Entry, OFFSET};
use block_qcow2::format::header::Header;
use block_qcow2::format::{bitmap, snapshot};

use crate::memory::MemoryFile;

/// Tables longer than this are not looked at: the image counts as corrupt.
const LONGEST: u64 = 1 << 20;

/// What a cluster is used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Use {
    Header,
    L1,
    L2,
    RefcountTable,
    RefcountBlock,
    Snapshots,
    Bitmaps,
    Data,
}

struct Uses<'f> {
    file: &'f MemoryFile,
    bits: u32,
    found: HashMap<u64, Use>,
}

impl Uses<'_> {
    /// Notes the clusters of a range.
    fn add(&mut self, offset: u64, bytes: u64, what: Use, may_share: bool) -> Option<()> {
        let end = offset.checked_add(bytes).filter(|end| *end <= 1 << 56)?;
        if bytes > LONGEST {
            return None;
        }
        for cluster in offset >> self.bits..end.div_ceil(1 << self.bits) {
            match self.found.insert(cluster, what) {
                Some(other) if other != what || !may_share => return None,
                _ => {}
            }
        }
        Some(())
    }

    /// A table of words at whole clusters.
    fn words(&self, offset: u64, count: u64) -> Option<Vec<u64>> {
        if count * 8 > LONGEST {
            return None;
        }
        let bytes = self.file.read(offset, (count * 8) as usize);
        let word = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0, |word, byte| word << 8 | u64::from(*byte))
        };
        Some(bytes.chunks(8).map(word).collect())
    }

    fn is_aligned(&self, offset: u64) -> bool {
        offset & ((1 << self.bits) - 1) == 0
    }

    /// What a first-level table refers to.
    fn mapping(&mut self, header: &Header, offset: u64, count: u64) -> Option<()> {
        if count > 0 {
            self.add(offset, count * 8, Use::L1, false)?;
        }
        let size = header.cluster_size();
        let words = if header.has_subclusters() { 2 } else { 1 };
        let per_table = size / 8 / words;
        for (index, entry) in self.words(offset, count)?.into_iter().enumerate() {
            let table = entry & OFFSET;
            if table == 0 {
                continue;
            }
            if !self.is_aligned(table) {
                return None;
            }
            self.add(table, size, Use::L2, true)?;
            let entries = self.words(table, size / 8)?;
            for (at, entry) in entries.chunks(words as usize).enumerate() {
                let entry = Entry {
                    word: entry[0],
                    bitmap: entry.get(1).copied().unwrap_or(0),
                };
                let guest = (index as u64 * per_table + at as u64).checked_mul(size)?;
                self.entry(header, entry, guest)?;
            }
        }
        Some(())
    }

    fn entry(&mut self, header: &Header, entry: Entry, guest: u64) -> Option<()> {
        let size = header.cluster_size();
        if entry.is_compressed() {
            let range = CompressedRange::of(entry.word, self.bits);
            return match header.has_data_file() {
                true => None,
                false => self.add(range.start, range.bytes, Use::Data, true),
            };
        }
        if header.has_data_file() {
            let stored = entry.host() != 0 || entry.word & COPIED != 0;
            return (!stored || entry.host() == guest).then_some(());
        }
        match entry.host() {
            0 => Some(()),
            host => self
                .is_aligned(host)
                .then_some(())
                .and_then(|()| self.add(host, size, Use::Data, true)),
        }
    }
}

/// Looks at the image in `file`.
pub fn is_sane(file: &MemoryFile) -> bool {
    look(file).is_some()
}

fn look(file: &MemoryFile) -> Option<()> {
    let head = file.read(0, 2 << 20);
    let mut header = Header::parse(&head).ok()?;
    header
        .read_extensions(&head[..header.cluster_size() as usize])
        .ok()?;
    let size = header.cluster_size();
    let mut uses = Uses {
        file,
        bits: header.cluster_bits,
        found: HashMap::new(),
    };
    uses.add(0, size, Use::Header, false)?;
    let table_bytes = u64::from(header.refcount_table_clusters) * size;
    uses.add(
        header.refcount_table_offset,
        table_bytes,
        Use::RefcountTable,
        false,
    )?;
    for entry in uses.words(header.refcount_table_offset, table_bytes / 8)? {
        let block = entry & OFFSET;
        if block != 0 {
            uses.is_aligned(block).then_some(())?;
            uses.add(block, size, Use::RefcountBlock, false)?;
        }
    }
    uses.mapping(&header, header.l1_offset, u64::from(header.l1_size))?;
    if header.snapshot_count > 0 {
        let bytes = file.read(header.snapshots_offset, LONGEST as usize);
        let (all, used) = snapshot::parse(&bytes, header.snapshot_count, header.size).ok()?;
        uses.add(header.snapshots_offset, used as u64, Use::Snapshots, false)?;
        for snapshot in all {
            uses.is_aligned(snapshot.l1_offset).then_some(())?;
            uses.mapping(&header, snapshot.l1_offset, u64::from(snapshot.l1_size))?;
        }
    }
    if let Some(known) = header.bitmaps {
        uses.add(
            known.directory_offset,
            known.directory_size,
            Use::Bitmaps,
            false,
        )?;
        let bytes = file.read(known.directory_offset, known.directory_size as usize);
        for entry in bitmap::parse(&bytes, known.count, size).ok()? {
            let count = u64::from(entry.table_size);
            uses.is_aligned(entry.table_offset).then_some(())?;
            uses.add(entry.table_offset, count * 8, Use::Bitmaps, false)?;
            for word in uses.words(entry.table_offset, count)? {
                if let bitmap::Part::At(offset) = bitmap::Part::parse(word, size).ok()? {
                    uses.add(offset, size, Use::Bitmaps, false)?;
                }
            }
        }
    }
    Some(())
}
