//! What is stored, and nothing else: no I/O, no state.
//!
//! Everything here is a pure function of bytes. Parsers take whatever is
//! there, never panic, and allocate no more than a small multiple of what
//! they are given; whoever calls has bounded that by [`Limits`].

pub mod bitmap;
pub(crate) mod bytes;
pub mod entry;
mod error;
pub mod header;
pub mod refcount;
pub mod snapshot;

pub use error::FormatError;

use std::ops::RangeInclusive;

/// How large things may be.
#[derive(Debug)]
pub struct Limits;

impl Limits {
    /// A cluster has 512 bytes to 2 MiB.
    pub const CLUSTER_BITS: RangeInclusive<u32> = 9..=21;
    /// A reference count has 64 bits at most.
    pub const REFCOUNT_ORDER: u32 = 6;
    /// The first-level table, in bytes.
    pub const L1_BYTES: u64 = 32 << 20;
    /// The refcount table, in bytes.
    pub const REFCOUNT_TABLE_BYTES: u64 = 8 << 20;
    /// How many snapshots there are.
    pub const SNAPSHOTS: u32 = 65536;
    /// The table of snapshots, in bytes.
    pub const SNAPSHOT_TABLE_BYTES: u64 = 1024 * 65536;
}

/// Checks where a table is, and how large (`qcow2_validate_table`).
///
/// # Errors
/// [`FormatError::TableTooLarge`], [`FormatError::TableOffset`].
pub fn check_table(
    name: &'static str,
    offset: u64,
    entries: u64,
    entry_bytes: u64,
    most: u64,
    cluster_size: u64,
) -> Result<(), FormatError> {
    if entries > most / entry_bytes {
        return Err(FormatError::TableTooLarge(name));
    }
    let bytes = entries * entry_bytes;
    if offset > i64::MAX as u64 - bytes || !offset.is_multiple_of(cluster_size) {
        return Err(FormatError::TableOffset(name));
    }
    Ok(())
}

/// A number as `%#x` of C shows it: zero has no prefix.
pub(crate) struct Hex(pub u64);

impl std::fmt::Display for Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => f.write_str("0"),
            number => write!(f, "{number:#x}"),
        }
    }
}
