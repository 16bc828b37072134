//! Packed data, which the first entry of a valid image refers to.

use block_qcow2::format::entry::{COMPRESSED, CompressedRange, OFFSET};

use crate::image::exercise;
use crate::plan::Plan;
use crate::skeleton::skeleton;

pub(super) fn run(input: &[u8]) {
    let (rest, plan) = Plan::at_end(input, 16);
    let mut parts = Plan::new(rest);
    let skeleton = skeleton(parts.byte());
    let header = &skeleton.header;
    let skip = usize::from(parts.byte());
    let more = u64::from(parts.byte() % 8);
    let packed = parts.bytes(8192);
    let mut bytes = skeleton.bytes.clone();
    bytes.resize(bytes.len().next_multiple_of(512) + skip, 0);
    let start = bytes.len() as u64;
    bytes.extend_from_slice(packed);
    let range = CompressedRange {
        start,
        bytes: packed.len() as u64 + more * 512 + 1,
    };
    let entry = range
        .entry(header.cluster_bits)
        .unwrap_or(COMPRESSED | start);
    let l1 = header.l1_offset as usize;
    let table = bytes[l1..l1 + 8]
        .iter()
        .fold(0, |word, byte| word << 8 | u64::from(*byte));
    let table = (table & OFFSET) as usize;
    bytes[table..table + 8].copy_from_slice(&entry.to_be_bytes());
    exercise(&bytes, plan);
}
