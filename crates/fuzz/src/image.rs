//! What is done with an image, and what is demanded of the driver meanwhile.
//!
//! * It neither panics nor goes on for ever, whatever the file holds.
//! * Opened for reading, the file is not changed; opened for writing, only by
//!   writes, and by marks that say that somebody may write.
//! * Each byte of a buffer is filled by a read that succeeds: what was in
//!   memory before never shows.
//! * What was readable and was not written to is the same afterwards, also
//!   when the image is opened again. That is demanded of images in which no
//!   cluster is used for two things; others may lose what they share.
//! * An image that was consistent stays so.

use block_common::{Perm, StatusFlags};
use block_gs::{Backend, BlockLayer, BqlGuard, Node, SnapshotInfo, SnapshotKey};
use block_io::aio::Wait;
use block_io::{
    Buffer, CheckResult, Finding, IoError, Preallocation, Repairs, Request, WriteFlags,
};
use block_open::{Opener, Options, Value};
use block_qcow2::format::header::{Autoclear, Header, Incompatible};
use std::sync::Mutex;

use crate::memory::MemoryFile;
use crate::plan::Plan;
use crate::sane::is_sane;

/// How many pieces of an image are looked at.
const SPOTS: usize = 96;

/// How much of a piece is read, in bytes.
const PIECE: u64 = 8192;

/// How many changes are made.
const CHANGES: usize = 12;

/// The files of an image.
#[derive(Debug)]
struct Files {
    image: MemoryFile,
    data: MemoryFile,
}

/// Bytes of the guest that could be read.
#[derive(Debug)]
struct Spot {
    offset: u64,
    bytes: Vec<u8>,
}

/// Options for opening, as a plan has it.
fn options(files: &Files, read_only: bool, plan: &mut Plan<'_>) -> Options {
    let mut options = Options::new();
    options.set("driver", "qcow2");
    options.set("file", "image");
    options.set("backing", Value::Null);
    options.set("read-only", read_only);
    let head = files.image.read(0, 2 << 20);
    // What the header calls its data file is a name on this host: it is not
    // looked for.
    let has_data_file = Header::parse(&head).is_ok_and(|header| header.has_data_file());
    if has_data_file {
        options.set("data-file", "data");
    }
    if plan.byte() & 1 != 0 {
        options.set("l2-cache-size", 4096);
        options.set("l2-cache-entry-size", 512);
    }
    if plan.byte() & 1 != 0 {
        options.set("discard", "unmap");
    }
    if plan.byte() & 3 == 1 {
        options.set("overlap-check", "all");
    }
    options
}

/// An image that is open.
struct Open {
    node: Node,
    disk: Backend,
    length: u64,
}

fn open(bql: &mut BqlGuard, files: &Files, read_only: bool, plan: &mut Plan<'_>) -> Option<Open> {
    let options = options(files, read_only, plan);
    let opened = Opener::new().open(bql, options);
    let node = match opened {
        Ok(node) => node,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return None;
        }
    };
    let perm = match read_only {
        true => Perm::CONSISTENT_READ,
        false => Perm::CONSISTENT_READ | Perm::WRITE | Perm::RESIZE,
    };
    let disk = Backend::new(bql, "", perm, Perm::all()).expect("a backend");
    disk.insert(bql, &node).expect("nobody else is there");
    let length = node.length(bql);
    Some(Open { node, disk, length })
}

fn close(bql: &mut BqlGuard, open: Open) {
    drop(open);
    bql.poll(Wait::No);
}

fn check(bql: &mut BqlGuard, node: &Node, repairs: Repairs) -> Result<CheckResult, IoError> {
    node.drain(bql)
        .io(async |request: Request<'_>| request.check(repairs).await)
}

fn is_clean(found: &Result<CheckResult, IoError>) -> bool {
    found
        .as_ref()
        .is_ok_and(|found| found.corruptions == 0 && found.check_errors == 0)
}

/// What a check finds besides leaks. Where two entries share a cluster and one
/// of them lets it go, nobody says of the other that it is alone now: QEMU
/// counts that as an error, too, and it costs a copy and no more.
fn what_is_wrong(bql: &mut BqlGuard, node: &Node) -> Vec<String> {
    let wrong = Mutex::new(Vec::new());
    let hear = |finding: &dyn Finding| {
        let text = finding.to_string();
        let is_alone = text.starts_with("ERROR OFLAG_COPIED") && text.ends_with(" refcount=1");
        if text.starts_with("ERROR") && !is_alone {
            wrong.lock().expect("not poisoned").push(text);
        }
    };
    let found = node
        .drain(bql)
        .io(async |request: Request<'_>| request.check_telling(Repairs::empty(), &hear).await);
    let mut wrong = wrong.into_inner().expect("not poisoned");
    if let Err(error) = found {
        wrong.push(error.to_string());
    }
    wrong
}

/// Reads twice over different bytes, so that a byte that is not written
/// shows.
fn read(bql: &mut BqlGuard, disk: &Backend, offset: u64, length: usize) -> Option<Vec<u8>> {
    let mut tries = [0x55, 0xaa].map(|fill| {
        let mut buffer = Buffer::zeroed(length);
        buffer.as_mut_slice().fill(fill);
        let read = bql.block_on(disk.root().read(offset, buffer.destination()));
        (read.is_ok(), buffer.as_slice().to_vec())
    });
    let [first, second] = &mut tries;
    assert_eq!(first.0, second.0, "a read at {offset} fails once");
    if !first.0 {
        return None;
    }
    assert!(
        first.1 == second.1,
        "a read at {offset} leaves bytes of memory"
    );
    Some(std::mem::take(&mut first.1))
}

/// Looks at the beginning and at the end of each piece that is kept in its own
/// way.
fn look(bql: &mut BqlGuard, open: &Open) -> Vec<Spot> {
    let mut spots = Vec::new();
    let mut note = |bql: &mut BqlGuard, offset: u64, length: u64| {
        if let Some(bytes) = read(bql, &open.disk, offset, length as usize) {
            spots.push(Spot { offset, bytes });
        }
    };
    let mut at = 0;
    for _ in 0..SPOTS {
        if at >= open.length {
            break;
        }
        let left = open.length - at;
        let status = open.disk.root().block_status_above(None, at, left);
        let run = match bql.block_on(status) {
            Ok(status) => {
                assert!(
                    status.bytes > 0 && status.bytes <= left,
                    "{status:?} at {at}"
                );
                let run = status.bytes;
                if status.flags.contains(StatusFlags::ZERO) && run > PIECE {
                    let bytes = read(bql, &open.disk, at, PIECE as usize);
                    assert!(bytes.is_none_or(|bytes| bytes.iter().all(|byte| *byte == 0)));
                }
                run
            }
            Err(_) => left.min(512),
        };
        note(bql, at, run.min(PIECE));
        if run > PIECE {
            let tail = (run - PIECE).min(PIECE);
            note(bql, at + run - tail, tail);
        }
        at += run;
    }
    if open.length > 0 {
        let tail = open.length.min(512);
        note(bql, open.length - tail, tail);
    }
    spots
}

/// Compares what can be read with what could be.
fn compare(bql: &mut BqlGuard, open: &Open, spots: &[Spot], when: &str) {
    for spot in spots {
        let offset = spot.offset;
        let bytes = read(bql, &open.disk, offset, spot.bytes.len());
        let Some(bytes) = bytes else {
            panic!("{when}, {offset} cannot be read any more");
        };
        if bytes != spot.bytes {
            let differs = bytes
                .iter()
                .zip(&spot.bytes)
                .position(|(one, other)| one != other);
            let differs = differs.unwrap_or_default();
            let some = |bytes: &[u8]| {
                bytes[differs..]
                    .iter()
                    .take(16)
                    .copied()
                    .collect::<Vec<_>>()
            };
            panic!(
                "{when}, {offset} + {differs} reads {:?} and not {:?}",
                some(&bytes),
                some(&spot.bytes)
            );
        }
    }
}

/// Notes what a change has written; `None` when it is not known, because it
/// failed or because it may be either.
fn overwrite(spots: &mut Vec<Spot>, offset: u64, length: u64, byte: Option<u8>) {
    let end = offset + length;
    spots.retain_mut(|spot| {
        let spot_end = spot.offset + spot.bytes.len() as u64;
        if spot_end <= offset || end <= spot.offset {
            return true;
        }
        let Some(byte) = byte else {
            return false;
        };
        let from = offset.saturating_sub(spot.offset) as usize;
        let to = (end.min(spot_end) - spot.offset) as usize;
        spot.bytes[from..to].fill(byte);
        true
    });
}

/// Makes changes, and notes in `spots` what came of them.
fn change(bql: &mut BqlGuard, open: &mut Open, spots: &mut Vec<Spot>, plan: &mut Plan<'_>) {
    for _ in 0..CHANGES {
        if plan.is_over() || open.length == 0 {
            break;
        }
        let kind = plan.byte() % 16;
        let offset = plan.place(open.length).min(open.length - 1);
        let length = match plan.byte() {
            short @ 0..=99 => u64::from(short) + 1,
            long => u64::from(long - 99) * 512,
        };
        let length = length.min(open.length - offset);
        let byte = plan.byte();
        let root = open.disk.root();
        match kind {
            0..=5 => {
                let mut buffer = Buffer::zeroed(length as usize);
                buffer.as_mut_slice().fill(byte);
                let done = bql.block_on(root.write(offset, buffer.source()));
                overwrite(spots, offset, length, done.is_ok().then_some(byte));
            }
            6 | 7 => {
                // Compressed writes are of whole clusters.
                let size = open.node.view(bql).limits().cluster_size.max(512);
                let offset = offset - offset % u64::from(size);
                let length = u64::from(size).min(open.length - offset);
                let mut buffer = Buffer::zeroed(length as usize);
                buffer.as_mut_slice().fill(byte);
                let flags = WriteFlags::COMPRESSED;
                let done = bql.block_on(root.write_with(offset, buffer.source(), flags));
                overwrite(spots, offset, length, done.is_ok().then_some(byte));
            }
            8 | 9 => {
                let flags = match byte & 1 {
                    0 => WriteFlags::empty(),
                    _ => WriteFlags::MAY_UNMAP,
                };
                let length = (length * 16).min(open.length - offset);
                let done = bql.block_on(root.write_zeroes(offset, length, flags));
                overwrite(spots, offset, length, done.is_ok().then_some(0));
            }
            10 | 11 => {
                let length = (length * 16).min(open.length - offset);
                let _ = bql.block_on(root.discard(offset, length));
                overwrite(spots, offset, length, None);
            }
            12 => {
                let _ = bql.block_on(root.flush());
            }
            13 => {
                let grown = open.length.saturating_add(length).next_multiple_of(512);
                let shrunk = offset.next_multiple_of(512).min(open.length);
                let to = if byte & 1 == 0 { grown } else { shrunk };
                let done = root.truncate(to, true, Preallocation::Off);
                let _ = bql.block_on(done);
                open.length = open.node.length(bql);
                // What was to be cut off may be gone although it failed.
                let length = open.length.min(to);
                spots.retain(|spot| spot.offset + spot.bytes.len() as u64 <= length);
            }
            14 => {
                let mut info = SnapshotInfo {
                    name: format!("s{byte}"),
                    ..SnapshotInfo::default()
                };
                let _ = open.node.drain(bql).create_snapshot(&mut info);
            }
            _ => {
                let Ok(all) = open.node.view(bql).snapshots(bql) else {
                    continue;
                };
                if all.is_empty() {
                    continue;
                }
                let id = all[usize::from(byte >> 1) % all.len()].id.clone();
                if byte & 1 == 0 {
                    let which = SnapshotKey {
                        id: Some(&id),
                        name: None,
                    };
                    let _ = open.node.drain(bql).delete_snapshot(which);
                } else {
                    let _ = open.node.drain(bql).goto_snapshot(&id);
                    spots.clear();
                    open.length = open.node.length(bql);
                }
            }
        }
    }
}

/// Whether opening the image for writing leaves marks in it.
fn is_marked(files: &Files) -> bool {
    let head = files.image.read(0, 2 << 20);
    let Ok(header) = Header::parse(&head) else {
        return false;
    };
    !header.autoclear.is_empty()
        || header.incompatible.contains(Incompatible::DIRTY)
        || header.autoclear.contains(Autoclear::BITMAPS)
}

/// Opens the image, reads it everywhere, writes to it, and opens it again.
///
/// # Panics
/// When the driver does not do what this module demands.
pub fn exercise(image: &[u8], mut plan: Plan<'_>) {
    let files = Files {
        image: MemoryFile::new(image),
        data: MemoryFile::new(&image[..image.len().min(8192)]),
    };
    let layer = BlockLayer::new().expect("a block layer");
    layer.enter(|bql| {
        let nodes = (
            files.image.open(bql, "image").expect("a node"),
            files.data.open(bql, "data").expect("a node"),
        );
        run(bql, &files, &mut plan);
        drop(nodes);
        bql.poll(Wait::No);
    });
}

fn run(bql: &mut BqlGuard, files: &Files, plan: &mut Plan<'_>) {
    let _ = block_open::probe(&files.image.read(0, 512), "");
    let before = files.image.contents();
    let Some(open_image) = open(bql, files, true, plan) else {
        assert_eq!(
            files.image.changes(),
            0,
            "an image that is refused is changed"
        );
        return;
    };
    let spots = look(bql, &open_image);
    let found = check(bql, &open_image.node, Repairs::empty());
    let view = open_image.node.view(bql);
    let _ = view.info(bql);
    let _ = view.snapshots(bql);
    let names = open_image.node.view(bql).snapshots(bql).unwrap_or_default();
    for info in names.iter().take(4) {
        let _ = open_image.node.drain(bql).load_snapshot_called(&info.id);
        let length = open_image.node.length(bql);
        let _ = read(bql, &open_image.disk, 0, length.min(PIECE) as usize);
    }
    close(bql, open_image);
    assert_eq!(files.image.changes(), 0, "reading changes the image");

    let sane = is_clean(&found) && is_sane(&files.image);
    let marked = is_marked(files);
    if let Some(open_image) = open(bql, files, false, plan) {
        close(bql, open_image);
    } else if sane && !marked {
        // Only an image that says that it is corrupt is for reading only.
        assert!(!has_no_marks(files), "a clean image cannot be written");
    }
    assert!(
        marked || files.image.contents() == before,
        "opening changes the image"
    );

    let Some(mut open_image) = open(bql, files, false, plan) else {
        return;
    };
    let mut spots = spots;
    if sane {
        compare(bql, &open_image, &spots, "opened for writing");
    }
    change(bql, &mut open_image, &mut spots, plan);
    if sane {
        compare(bql, &open_image, &spots, "after writes");
    }
    let flushed = bql.block_on(open_image.disk.root().flush());
    close(bql, open_image);
    let again = open(bql, files, true, plan);
    if sane && flushed.is_ok() {
        let again = again.expect("what was written can be opened");
        compare(bql, &again, &spots, "opened again");
        let wrong = what_is_wrong(bql, &again.node);
        assert!(
            wrong.is_empty(),
            "writing to a clean image leaves {wrong:?}"
        );
        close(bql, again);
    } else {
        drop(again);
        bql.poll(Wait::No);
    }
    if let Some(open_image) = open(bql, files, false, plan) {
        let _ = check(bql, &open_image.node, Repairs::LEAKS | Repairs::ERRORS);
        close(bql, open_image);
    }
}

fn has_no_marks(files: &Files) -> bool {
    let head = files.image.read(0, 2 << 20);
    Header::parse(&head).is_ok_and(|header| {
        !header
            .incompatible
            .intersects(Incompatible::CORRUPT | Incompatible::DIRTY)
    })
}
