//! Lists of snapshots and of bitmaps, behind the end of a valid image whose
//! header refers to them.

use block_qcow2::format::header::{Autoclear, BitmapsExtension};

use crate::image::exercise;
use crate::plan::Plan;
use crate::skeleton::skeleton;

pub(super) fn run(input: &[u8]) {
    let (rest, plan) = Plan::at_end(input, 32);
    let mut parts = Plan::new(rest);
    let skeleton = skeleton(parts.byte());
    let mut header = skeleton.header.clone();
    let size = header.cluster_size() as usize;
    let mut bytes = skeleton.spoil(&mut parts, 3);
    bytes.resize(bytes.len().next_multiple_of(size), 0);
    let kinds = parts.byte();
    let (snapshots, bitmaps) = (parts.byte(), parts.byte());
    let length = usize::from(parts.word()) % 4096;
    if kinds & 1 != 0 {
        header.snapshot_count = u32::from(snapshots);
        header.snapshots_offset = append(&mut bytes, parts.bytes(length), size);
    }
    if kinds & 2 != 0 && header.version >= 3 {
        let length = parts.word();
        let directory = parts.bytes(usize::from(length) % 4096);
        header.autoclear |= Autoclear::BITMAPS;
        header.bitmaps = Some(BitmapsExtension {
            count: u32::from(bitmaps).max(1),
            directory_size: directory.len() as u64,
            directory_offset: append(&mut bytes, directory, size),
        });
        // The tables that the directory names may be here.
        append(&mut bytes, parts.bytes(4096), size);
    }
    if let Ok(head) = header.write() {
        bytes[..head.len()].copy_from_slice(&head);
    }
    exercise(&bytes, plan);
}

/// Puts something behind the end, and says where.
fn append(bytes: &mut Vec<u8>, what: &[u8], size: usize) -> u64 {
    let offset = bytes.len();
    bytes.extend_from_slice(what);
    bytes.resize(bytes.len().next_multiple_of(size), 0);
    offset as u64
}
