//! Numbers in byte arrays, most significant byte first. What is beyond the end
//! reads as zero, as the end of a file does.

/// A 32-bit number.
pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    let found = bytes.get(at..at.saturating_add(4));
    found.map_or(0, |word| {
        u32::from_be_bytes(word.try_into().unwrap_or_default())
    })
}

/// A 64-bit number.
pub(crate) fn be64(bytes: &[u8], at: usize) -> u64 {
    let found = bytes.get(at..at.saturating_add(8));
    found.map_or(0, |word| {
        u64::from_be_bytes(word.try_into().unwrap_or_default())
    })
}

/// A 16-bit number.
pub(crate) fn be16(bytes: &[u8], at: usize) -> u16 {
    let found = bytes.get(at..at.saturating_add(2));
    found.map_or(0, |word| {
        u16::from_be_bytes(word.try_into().unwrap_or_default())
    })
}

/// Stores a 16-bit number.
pub(crate) fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// Stores a 32-bit number.
pub(crate) fn put32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

/// Stores a 64-bit number.
pub(crate) fn put64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_be_bytes());
}
