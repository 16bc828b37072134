//! The directory of persistent bitmaps.

use super::FormatError;
use super::bytes::{be16, be32, be64, put16, put32, put64};

/// How long an entry is before its variable part, in bytes.
const FIXED: usize = 24;

/// The longest name of a bitmap, in bytes.
pub const MAX_NAME: usize = 1023;

/// How many bytes of bits a bitmap has at most.
pub const MAX_BYTES: u64 = 512 << 20;

bitflags::bitflags! {
    /// What is said about a bitmap.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct BitmapFlags: u32 {
        /// Somebody has not stored it again: it does not hold.
        const IN_USE = 1;
        /// It notes what is written.
        const AUTO = 1 << 1;
    }
}

/// An entry of the directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BitmapEntry {
    /// Where its table is.
    pub table_offset: u64,
    /// How many entries that has.
    pub table_size: u32,
    /// What is said about it.
    pub flags: BitmapFlags,
    /// A bit stands for `1 << granularity_bits` bytes.
    pub granularity_bits: u8,
    /// The name.
    pub name: String,
}

/// An entry of the table of a bitmap: where a cluster of bits is, that there
/// is none and all are set, or that there is none and none is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// None is set.
    Clear,
    /// All are set.
    Set,
    /// In this cluster.
    At(u64),
}

impl Part {
    /// Reads an entry.
    ///
    /// # Errors
    /// [`FormatError::BitmapDirectory`] for reserved bits.
    pub fn parse(word: u64, cluster_size: u64) -> Result<Part, FormatError> {
        let offset = word & super::entry::OFFSET;
        match (offset, word & !super::entry::OFFSET) {
            (0, 0) => Ok(Part::Clear),
            (0, 1) => Ok(Part::Set),
            (offset, 0) if offset % cluster_size == 0 => Ok(Part::At(offset)),
            _ => Err(FormatError::BitmapDirectory("bad table entry")),
        }
    }

    /// The entry.
    pub fn word(self) -> u64 {
        match self {
            Part::Clear => 0,
            Part::Set => 1,
            Part::At(offset) => offset,
        }
    }
}

/// The entries of a directory.
///
/// # Errors
/// [`FormatError::BitmapDirectory`].
pub fn parse(bytes: &[u8], count: u32, cluster_size: u64) -> Result<Vec<BitmapEntry>, FormatError> {
    let broken = FormatError::BitmapDirectory;
    let mut found: Vec<BitmapEntry> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let entry = &bytes[at..];
        if entry.len() < FIXED {
            return Err(broken("truncated entry"));
        }
        let extra = be32(entry, 20) as usize;
        let name_size = usize::from(be16(entry, 18));
        let length = FIXED.saturating_add(extra).saturating_add(name_size);
        let Some(entry) = entry.get(..length) else {
            return Err(broken("truncated entry"));
        };
        let flags = be32(entry, 12);
        let kind = entry[16];
        let granularity_bits = entry[17];
        let table_offset = be64(entry, 0);
        let wrong = extra != 0
            || name_size == 0
            || name_size > MAX_NAME
            || kind != 1
            || !(9..=31).contains(&granularity_bits)
            || table_offset == 0
            || !table_offset.is_multiple_of(cluster_size)
            || be32(entry, 8) == 0
            || u64::from(be32(entry, 8)) * cluster_size > MAX_BYTES
            || flags & !BitmapFlags::all().bits() != 0;
        if wrong {
            return Err(broken("unsupported or inconsistent entry"));
        }
        // It could not be written again as it was.
        let Ok(name) = std::str::from_utf8(&entry[FIXED..]) else {
            return Err(broken("a name that is no text"));
        };
        found.push(BitmapEntry {
            table_offset,
            table_size: be32(entry, 8),
            flags: BitmapFlags::from_bits_truncate(flags),
            granularity_bits,
            name: name.to_owned(),
        });
        at += length.next_multiple_of(8);
        if found.len() as u64 > u64::from(count) {
            return Err(broken("more entries than the header says"));
        }
    }
    match found.len() == count as usize {
        true => Ok(found),
        false => Err(broken("fewer entries than the header says")),
    }
}

/// The directory as it is stored.
pub fn write(entries: &[BitmapEntry]) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        let mut fixed = [0; FIXED];
        put64(&mut fixed, 0, entry.table_offset);
        put32(&mut fixed, 8, entry.table_size);
        put32(&mut fixed, 12, entry.flags.bits());
        fixed[16] = 1;
        fixed[17] = entry.granularity_bits;
        put16(&mut fixed, 18, entry.name.len() as u16);
        out.extend_from_slice(&fixed);
        out.extend_from_slice(entry.name.as_bytes());
        out.resize(out.len().next_multiple_of(8), 0);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nobody_makes_room_for_a_table_without_end() {
        let entry = |table_size| BitmapEntry {
            table_offset: 2 << 21,
            table_size,
            flags: BitmapFlags::empty(),
            granularity_bits: 9,
            name: "b".to_owned(),
        };
        for (table_size, is_read) in [(256, true), (257, false), (u32::MAX, false)] {
            let read = parse(&write(&[entry(table_size)]), 1, 2 << 20);
            assert_eq!(read.is_ok(), is_read, "{table_size}");
        }
    }

    /// What is marked as in use is written over what was read.
    #[test]
    fn what_was_read_is_as_long_when_it_is_written() {
        let entry = BitmapEntry {
            table_offset: 1 << 16,
            table_size: 1,
            flags: BitmapFlags::empty(),
            granularity_bits: 16,
            name: "name".to_owned(),
        };
        let mut bytes = write(&[entry]);
        assert_eq!(
            parse(&bytes, 1, 1 << 16).map(|all| write(&all)),
            Ok(bytes.clone())
        );
        bytes[FIXED..].fill(0xff);
        let refused = parse(&bytes, 1, 1 << 16).map(|all| write(&all));
        assert!(
            matches!(refused, Err(FormatError::BitmapDirectory(_))),
            "{refused:?}"
        );
    }

    proptest! {
        #[test]
        fn directories_survive(
            all in proptest::collection::vec((1u64..1 << 30, 1u32..9, 0u32..4, 9u8..=31, "[a-z]{1,20}"), 0..8),
        ) {
            let all: Vec<BitmapEntry> = all.into_iter().map(|(cluster, table_size, flags, granularity_bits, name)| BitmapEntry {
                table_offset: cluster << 16,
                table_size,
                flags: BitmapFlags::from_bits_truncate(flags),
                granularity_bits,
                name,
            }).collect();
            let read = parse(&write(&all), all.len() as u32, 1 << 16);
            prop_assert_eq!(read, Ok(all));
        }

        #[test]
        fn anything_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), count in 0u32..9) {
            let _ = parse(&bytes, count, 65536);
        }
    }
}
