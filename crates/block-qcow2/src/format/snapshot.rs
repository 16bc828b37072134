//! The table of internal snapshots.

use super::bytes::{be16, be32, be64, put16, put32, put64};
use super::{FormatError, Limits};

/// How long an entry is before its variable part, in bytes.
pub(crate) const FIXED: usize = 40;

/// The extra data that is known: size of the VM state, size of the disk,
/// instruction count.
const KNOWN_EXTRA: usize = 24;

/// The longest extra data that is kept, in bytes.
pub(crate) const MAX_EXTRA: usize = 1024;

/// The longest entry that is kept, in bytes.
pub(crate) const LONGEST: usize = FIXED + MAX_EXTRA + 2 * u16::MAX as usize;

/// How long the parts of an entry are, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Lengths {
    pub extra: usize,
    pub id: usize,
    pub name: usize,
}

impl Lengths {
    /// Those of the entry that begins with these bytes.
    pub fn of(entry: &[u8]) -> Lengths {
        Lengths {
            extra: be32(entry, 36) as usize,
            id: usize::from(be16(entry, 12)),
            name: usize::from(be16(entry, 14)),
        }
    }

    /// Where an entry's own parts begin, behind the extra data.
    pub fn names_at(self) -> usize {
        FIXED + self.extra
    }

    /// How long the entry is.
    pub fn all(self) -> usize {
        self.names_at() + self.id + self.name
    }

    /// Whether all is there that an entry of version 3 has to say.
    pub fn is_complete(self) -> bool {
        self.extra >= 16
    }
}

/// An internal snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Snapshot {
    /// Where its first-level table is.
    pub l1_offset: u64,
    /// How many entries that has.
    pub l1_size: u32,
    /// What the image calls it: any bytes, which stay as they are.
    pub id: Vec<u8>,
    /// What the user calls it, likewise.
    pub name: Vec<u8>,
    /// When it was made: seconds since 1970.
    pub seconds: u32,
    /// And nanoseconds.
    pub nanoseconds: u32,
    /// How long the virtual machine had run, in nanoseconds.
    pub vm_clock: u64,
    /// How long its state is, in bytes.
    pub vm_state_size: u64,
    /// How long the disk was, in bytes.
    pub disk_size: u64,
    /// How many instructions it had run; `u64::MAX` for not counted.
    pub instructions: u64,
    /// Extra data that is not known.
    pub unknown_extra: Vec<u8>,
}

impl Snapshot {
    /// What the image calls it, as text.
    pub fn shown_id(&self) -> String {
        String::from_utf8_lossy(&self.id).into_owned()
    }

    /// What the user calls it, as text.
    pub fn shown_name(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }
}

/// The snapshots of a table, and how long the table is.
///
/// `disk_size` is what a snapshot has that does not say.
///
/// # Errors
/// [`FormatError::SnapshotTable`] when `bytes` does not hold `count` entries.
pub fn parse(
    bytes: &[u8],
    count: u32,
    disk_size: u64,
) -> Result<(Vec<Snapshot>, usize), FormatError> {
    let mut found = Vec::new();
    let mut at: usize = 0;
    for index in 0..count {
        at = at.next_multiple_of(8);
        let entry = bytes.get(at..).unwrap_or_default();
        let too_long = FormatError::SnapshotTable(count - index);
        if entry.len() < FIXED {
            return Err(too_long);
        }
        let lengths = Lengths::of(entry);
        if lengths.extra > MAX_EXTRA {
            return Err(FormatError::SnapshotExtra(index));
        }
        let length = lengths.all();
        let Some(entry) = entry.get(..length) else {
            return Err(too_long);
        };
        let (front, names) = entry.split_at(lengths.names_at());
        found.push(read(front, &front[FIXED..], names, lengths, disk_size));
        at += length;
        if at as u64 > Limits::SNAPSHOT_TABLE_BYTES {
            return Err(too_long);
        }
    }
    Ok((found, at))
}

/// An entry: what it begins with, its extra data, its two names.
pub(crate) fn read(
    entry: &[u8],
    extra: &[u8],
    names: &[u8],
    lengths: Lengths,
    disk_size: u64,
) -> Snapshot {
    let (id, name) = names.split_at(lengths.id);
    Snapshot {
        l1_offset: be64(entry, 0),
        l1_size: be32(entry, 8),
        id: id.to_vec(),
        name: name.to_vec(),
        seconds: be32(entry, 16),
        nanoseconds: be32(entry, 20),
        vm_clock: be64(entry, 24),
        vm_state_size: match extra.len() >= 8 {
            true => be64(extra, 0),
            false => u64::from(be32(entry, 32)),
        },
        disk_size: match extra.len() >= 16 {
            true => be64(extra, 8),
            false => disk_size,
        },
        instructions: match extra.len() >= 24 {
            true => be64(extra, 16),
            false => u64::MAX,
        },
        unknown_extra: extra.get(KNOWN_EXTRA..).unwrap_or_default().to_vec(),
    }
}

/// The table as it is stored.
///
/// # Errors
/// [`FormatError::TableTooLarge`] when it is longer than is supported.
pub fn write(snapshots: &[Snapshot]) -> Result<Vec<u8>, FormatError> {
    let mut out = Vec::new();
    for snapshot in snapshots {
        out.resize(out.len().next_multiple_of(8), 0);
        let mut entry = vec![0; FIXED + KNOWN_EXTRA];
        put64(&mut entry, 0, snapshot.l1_offset);
        put32(&mut entry, 8, snapshot.l1_size);
        put16(&mut entry, 12, length_of(&snapshot.id)?);
        put16(&mut entry, 14, length_of(&snapshot.name)?);
        put32(&mut entry, 16, snapshot.seconds);
        put32(&mut entry, 20, snapshot.nanoseconds);
        put64(&mut entry, 24, snapshot.vm_clock);
        let short = u32::try_from(snapshot.vm_state_size).unwrap_or(0);
        put32(&mut entry, 32, short);
        put32(
            &mut entry,
            36,
            (KNOWN_EXTRA + snapshot.unknown_extra.len()) as u32,
        );
        put64(&mut entry, FIXED, snapshot.vm_state_size);
        put64(&mut entry, FIXED + 8, snapshot.disk_size);
        put64(&mut entry, FIXED + 16, snapshot.instructions);
        out.extend_from_slice(&entry);
        out.extend_from_slice(&snapshot.unknown_extra);
        out.extend_from_slice(&snapshot.id);
        out.extend_from_slice(&snapshot.name);
    }
    match out.len() as u64 > Limits::SNAPSHOT_TABLE_BYTES {
        true => Err(TOO_LARGE),
        false => Ok(out),
    }
}

const TOO_LARGE: FormatError = FormatError::TableTooLarge("Snapshot table");

fn length_of(text: &[u8]) -> Result<u16, FormatError> {
    u16::try_from(text.len()).map_err(|_| TOO_LARGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn snapshot() -> impl Strategy<Value = Snapshot> {
        let numbers = (any::<u64>(), any::<u32>(), any::<u32>(), any::<u32>());
        let sizes = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>());
        let rest = proptest::collection::vec(any::<u8>(), 0..40);
        let bytes = || proptest::collection::vec(any::<u8>(), 0..20);
        (bytes(), bytes(), numbers, sizes, rest).prop_map(
            |(id, name, (l1_offset, l1_size, seconds, nanoseconds), sizes, unknown_extra)| {
                Snapshot {
                    l1_offset,
                    l1_size,
                    id,
                    name,
                    seconds,
                    nanoseconds,
                    vm_clock: sizes.0,
                    vm_state_size: sizes.1,
                    disk_size: sizes.2,
                    instructions: sizes.3,
                    unknown_extra,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn tables_survive(all in proptest::collection::vec(snapshot(), 0..8)) {
            let bytes = write(&all).expect("short");
            let (read, length) = parse(&bytes, all.len() as u32, 0).expect("well formed");
            prop_assert_eq!(read, all);
            prop_assert_eq!(length, bytes.len());
        }

        #[test]
        fn anything_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), count in 0u32..9) {
            let _ = parse(&bytes, count, 0);
        }
    }
}
