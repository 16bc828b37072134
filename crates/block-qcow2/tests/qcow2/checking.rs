//! Checks: what is told, what is repaired, and what a repair leaves behind
//! that does not come to its end; what keeps damaged images from getting
//! worse.

use std::path::Path;
use std::sync::{Arc, Mutex};

use block_gs::{BlockDriver, BqlGuard, Node, NodeBuilder, SnapshotInfo};
use block_io::{
    Capabilities, CheckResult, Destination, DriverIo, Finding, IoError, IoFuture, Repairs, Request,
    Source, Truncation, WriteFlags,
};
use block_qcow2::{CreateOptions, OverlapChecks, Qcow2Finding, Qcow2Image, Qcow2Options, Verdict};

use crate::crash::recorder::sectors;
use crate::support::{Tool, create, disk, flush, in_layer, open, open_with, pattern, read, write};
use crate::writing::Random;

const ALL: Repairs = Repairs::LEAKS.union(Repairs::ERRORS);

/// Checks, and returns what was told.
fn check(
    bql: &mut BqlGuard,
    node: &Node,
    repairs: Repairs,
) -> (Result<CheckResult, IoError>, Vec<Qcow2Finding>) {
    let told = Mutex::new(Vec::new());
    let hear = |finding: &dyn Finding| {
        let finding: &dyn std::any::Any = finding;
        let finding = finding.downcast_ref::<Qcow2Finding>().expect("its own");
        told.lock().expect("not poisoned").push(finding.clone());
    };
    let found = node
        .drain(bql)
        .io(async |request: Request<'_>| request.check_telling(repairs, &hear).await);
    (found, told.into_inner().expect("not poisoned"))
}

fn close(bql: &mut BqlGuard, node: Node) {
    drop(node);
    bql.poll(block_io::aio::Wait::No);
}

fn word(bytes: &[u8], at: u64) -> u64 {
    let at = at as usize;
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight"))
}

fn put(bytes: &mut Vec<u8>, at: u64, data: &[u8]) {
    let end = at as usize + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[at as usize..end].copy_from_slice(data);
}

const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

const COPIED: u64 = 1 << 63;

/// An image with data, and what a guest sees of it.
fn sample(bql: &mut BqlGuard, path: &Path, cluster_size: u64, refcount_bits: u32) -> Vec<u8> {
    let options = CreateOptions {
        cluster_size,
        refcount_bits,
        ..CreateOptions::new(1 << 20)
    };
    create(bql, path, &options);
    let node = open(bql, path, false).expect("opened");
    let disk = disk(bql, &node);
    let data = pattern(300_000, 1);
    write(bql, &disk, 10_000, &data).expect("written");
    drop(disk);
    close(bql, node);
    let mut seen = vec![0; 1 << 20];
    seen[10_000..310_000].copy_from_slice(&data);
    seen
}

#[test]
fn findings_have_a_type() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        sample(bql, &path, 4096, 16);
        let mut bytes = std::fs::read(&path).expect("read");
        let cluster = (bytes.len() as u64).div_ceil(4096);
        let block = word(&bytes, word(&bytes, 48));
        put(&mut bytes, block + cluster * 2, &[0, 5]);
        bytes.resize((cluster as usize + 1) * 4096, 0);
        std::fs::write(&path, &bytes).expect("written");
        let node = open(bql, &path, false).expect("opened");
        let (found, told) = check(bql, &node, Repairs::empty());
        assert_eq!(found.expect("checked").leaks, 1);
        let leak = Qcow2Finding::Count {
            verdict: Verdict::Leaked,
            cluster,
            stored: 5,
            used: 0,
        };
        assert_eq!(told, [leak]);
        let (found, told) = check(bql, &node, Repairs::LEAKS);
        let found = found.expect("checked");
        assert_eq!((found.leaks, found.leaks_fixed), (0, 1));
        assert_eq!(told.len(), 2, "found, then repaired: {told:?}");
        let (found, told) = check(bql, &node, Repairs::empty());
        assert_eq!(found.expect("checked").leaks, 0);
        assert_eq!(told, []);
        close(bql, node);
    });
}

#[test]
fn repairs_need_an_image_that_is_written() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        sample(bql, &path, 4096, 16);
        let node = open(bql, &path, true).expect("opened");
        let (found, _) = check(bql, &node, Repairs::LEAKS);
        assert!(matches!(found, Err(IoError::ReadOnly)));
        close(bql, node);
    });
}

#[test]
fn an_image_goes_on_after_it_was_repaired() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        let mut seen = sample(bql, &path, 4096, 16);
        let mut bytes = std::fs::read(&path).expect("read");
        // No block of counts any more.
        let table = word(&bytes, 48);
        put(&mut bytes, table, &[0; 8]);
        std::fs::write(&path, &bytes).expect("written");
        let file = block_drivers::File::new(&path)
            .open(bql, "")
            .expect("opened");
        let image = Qcow2Image::read_to_be_checked(bql, &file).expect("an image");
        let node = image.open(bql, "").expect("opened");
        let (found, told) = check(bql, &node, ALL);
        let found = found.expect("repaired");
        assert_eq!((found.corruptions, found.leaks), (0, 0));
        assert!(told.contains(&Qcow2Finding::Rebuilding));
        let disk = disk(bql, &node);
        assert!(read(bql, &disk, 0, 1 << 20).expect("read") == seen);
        let data = pattern(400_000, 3);
        write(bql, &disk, 500_000, &data).expect("written");
        seen[500_000..900_000].copy_from_slice(&data);
        let mut info = SnapshotInfo {
            name: "s".into(),
            ..Default::default()
        };
        node.drain(bql).create_snapshot(&mut info).expect("made");
        write(bql, &disk, 0, &data).expect("written");
        seen[..400_000].copy_from_slice(&data);
        assert!(read(bql, &disk, 0, 1 << 20).expect("read") == seen);
        drop((disk, file));
        close(bql, node);
        let checked = qemu_img.run(["check", path.to_str().expect("text")]);
        assert!(checked.status.success(), "{checked:?}");
    });
}

/// What reached a file.
#[derive(Clone)]
enum Step {
    Write(u64, Vec<u8>),
    Length(usize),
    Flush,
}

/// A file in memory that remembers what it was told, and fails from one
/// request on.
struct Tape {
    state: Mutex<TapeState>,
}

struct TapeState {
    bytes: Vec<u8>,
    steps: Vec<Step>,
    left: usize,
}

impl Tape {
    fn new(bytes: Vec<u8>, left: usize) -> Arc<Tape> {
        let state = TapeState {
            bytes,
            steps: Vec::new(),
            left,
        };
        Arc::new(Tape {
            state: Mutex::new(state),
        })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, TapeState> {
        self.state.lock().expect("not poisoned")
    }

    fn note(&self, step: Step) -> Result<(), IoError> {
        let state = &mut *self.state();
        if state.left == 0 {
            return Err(IoError::from_errno(5));
        }
        state.left -= 1;
        apply(&mut state.bytes, &step);
        state.steps.push(step);
        Ok(())
    }
}

/// Stores any part of it.
fn tear(bytes: &mut Vec<u8>, step: &Step, random: &mut Random) {
    match step {
        Step::Write(at, data) => {
            for (from, sector) in sectors(*at, data) {
                if random.next(2) == 0 {
                    put(bytes, from, sector);
                }
            }
        }
        _ if random.next(2) == 0 => apply(bytes, step),
        _ => {}
    }
}

fn apply(bytes: &mut Vec<u8>, step: &Step) {
    match step {
        Step::Write(at, data) => put(bytes, *at, data),
        Step::Length(length) => bytes.resize(*length, 0),
        Step::Flush => {}
    }
}

impl DriverIo for Tape {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            flushes_to_disk: true,
            ..Capabilities::default()
        }
    }

    fn read<'r>(&'r self, _: Request<'r>, offset: u64, mut into: Destination<'r>) -> IoFuture<'r> {
        let state = self.state();
        let mut data = vec![0; into.len()];
        let from = (offset as usize).min(state.bytes.len());
        let there = (state.bytes.len() - from).min(data.len());
        data[..there].copy_from_slice(&state.bytes[from..from + there]);
        into.copy_from_slice(&data);
        IoFuture::done()
    }

    fn write<'r>(
        &'r self,
        _: Request<'r>,
        offset: u64,
        from: Source<'r>,
        _: WriteFlags,
    ) -> IoFuture<'r> {
        let mut data = vec![0; from.len()];
        from.copy_to_slice(&mut data);
        IoFuture::ready(self.note(Step::Write(offset, data)))
    }

    fn truncate<'r>(&'r self, _: Request<'r>, to: Truncation) -> IoFuture<'r> {
        IoFuture::ready(self.note(Step::Length(to.length as usize)))
    }

    fn flush_to_disk<'r>(&'r self, _: Request<'r>) -> IoFuture<'r> {
        IoFuture::ready(self.note(Step::Flush))
    }

    fn length<'r>(&'r self, _: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(self.state().bytes.len() as u64))
    }
}

impl BlockDriver for Tape {
    fn format_name(&self) -> &'static str {
        "tape"
    }
}

fn image_on(bql: &mut BqlGuard, tape: &Arc<Tape>) -> Node {
    let driver: Arc<dyn BlockDriver> = tape.clone();
    let file = NodeBuilder::new("").open(bql, driver).expect("opened");
    let image = Qcow2Image::read_to_be_checked(bql, &file).expect("an image");
    image.open(bql, "").expect("opened")
}

/// Repairs what is in `bytes`, and demands that a guest sees the same.
fn assert_repairable(bql: &mut BqlGuard, bytes: Vec<u8>, seen: &[u8], what: &str) {
    let tape = Tape::new(bytes, usize::MAX);
    let node = image_on(bql, &tape);
    let disk = disk(bql, &node);
    assert!(
        read(bql, &disk, 0, seen.len()).expect("read") == seen,
        "{what}"
    );
    let (found, told) = check(bql, &node, ALL);
    let found = found.expect("repaired");
    assert_eq!((found.corruptions, found.leaks), (0, 0), "{what}: {told:?}");
    let (found, told) = check(bql, &node, Repairs::empty());
    let found = found.expect("checked");
    assert_eq!((found.corruptions, found.leaks), (0, 0), "{what}: {told:?}");
    assert!(
        read(bql, &disk, 0, seen.len()).expect("read") == seen,
        "{what}"
    );
    drop(disk);
    close(bql, node);
}

/// What is done to the bytes of an image.
type Damage = fn(&mut Vec<u8>);

/// Ways to lose counts, with the bytes of an image.
fn losses() -> Vec<(&'static str, Damage)> {
    vec![
        ("lost block", |bytes| {
            let table = word(bytes, 48);
            put(bytes, table, &[0; 8]);
        }),
        ("lost table", |bytes| {
            put(bytes, 48, &(1u64 << 40).to_be_bytes());
        }),
        ("block beyond the end", |bytes| {
            let table = word(bytes, 48);
            let end = (bytes.len() as u64 + 60_000).next_multiple_of(1 << 16);
            put(bytes, table, &end.to_be_bytes());
        }),
        ("block far beyond the end", |bytes| {
            let table = word(bytes, 48);
            put(bytes, table, &(1u64 << 62).to_be_bytes());
        }),
        ("unaligned block", |bytes| {
            let table = word(bytes, 48);
            let block = word(bytes, table);
            put(bytes, table, &(block + 512).to_be_bytes());
        }),
        ("reserved bits", |bytes| {
            let table = word(bytes, 48);
            let block = word(bytes, table);
            put(bytes, table, &(block | 2).to_be_bytes());
        }),
        ("block in the first-level table", |bytes| {
            let (table, l1) = (word(bytes, 48), word(bytes, 40));
            put(bytes, table, &l1.to_be_bytes());
        }),
        ("block in a second-level table", |bytes| {
            let (table, l1) = (word(bytes, 48), word(bytes, 40));
            let l2 = word(bytes, l1) & OFFSET;
            put(bytes, table, &l2.to_be_bytes());
        }),
        ("nothing counted", |bytes| {
            let table = word(bytes, 48);
            let block = word(bytes, table);
            put(bytes, block, &[0; 512]);
        }),
    ]
}

#[test]
fn a_repair_that_stops_anywhere_loses_nothing() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        let mut random = Random(5);
        for (cluster_size, bits) in [(4096, 16), (1024, 64), (65536, 1)] {
            let seen = sample(bql, &path, cluster_size, bits);
            let good = std::fs::read(&path).expect("read");
            for (name, lose) in losses() {
                let mut bytes = good.clone();
                lose(&mut bytes);
                let what = format!("{name}, {cluster_size} bytes, {bits} bits");
                let tape = Tape::new(bytes.clone(), usize::MAX);
                let node = image_on(bql, &tape);
                let (found, told) = check(bql, &node, ALL);
                let found = found.unwrap_or_else(|error| panic!("{what}: {error}, {told:?}"));
                assert_eq!((found.corruptions, found.leaks), (0, 0), "{what}");
                close(bql, node);
                let steps = tape.state().steps.clone();
                for cut in 0..=steps.len() {
                    // A crash: what was flushed is there, and some of the rest.
                    let flushed = steps[..cut]
                        .iter()
                        .rposition(|step| matches!(step, Step::Flush));
                    let flushed = flushed.map_or(0, |at| at + 1);
                    let mut crashed = bytes.clone();
                    for (number, step) in steps[..cut].iter().enumerate() {
                        match number < flushed {
                            true => apply(&mut crashed, step),
                            false => tear(&mut crashed, step, &mut random),
                        }
                    }
                    let what = format!("{what}, cut at {cut} of {}", steps.len());
                    assert_repairable(bql, crashed, &seen, &what);
                    // An error: nothing is stored from then on.
                    let tape = Tape::new(bytes.clone(), cut);
                    let node = image_on(bql, &tape);
                    let (found, told) = check(bql, &node, ALL);
                    let is_done = cut == steps.len();
                    assert!(found.is_err() || is_done, "{what}: {told:?}");
                    let left = tape.state().bytes.clone();
                    // The same image is repaired as soon as that is possible.
                    tape.state().left = usize::MAX;
                    let (found, told) = check(bql, &node, ALL);
                    let found = found.expect("repaired");
                    assert_eq!((found.corruptions, found.leaks), (0, 0), "{what}: {told:?}");
                    close(bql, node);
                    assert_repairable(bql, left, &seen, &what);
                }
            }
        }
    });
}

/// What is done to a damaged image.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Read(u64, usize),
    Write(u64, usize),
}

fn l1_of(bytes: &[u8]) -> u64 {
    word(bytes, 40)
}

fn l2_of(bytes: &[u8]) -> u64 {
    word(bytes, l1_of(bytes)) & OFFSET
}

fn block_of(bytes: &[u8]) -> u64 {
    word(bytes, word(bytes, 48))
}

/// The line in which QEMU says that an image is corrupt, if it does.
fn their_words(path: &Path, deed: Deed, read_only: bool, checks: &str) -> Option<String> {
    let io = Tool::find("qemu-io")?;
    let command = match deed {
        Deed::Read(offset, bytes) => format!("read {offset} {bytes}"),
        Deed::Write(offset, bytes) => format!("write -P 7 {offset} {bytes}"),
    };
    let options = format!(
        "driver=qcow2,discard=unmap,overlap-check={checks},file.filename={}",
        path.to_str().expect("text")
    );
    let mut arguments = vec!["--image-opts"];
    arguments.extend(read_only.then_some("-r"));
    arguments.extend(["-c", &command, "-c", "flush", &options]);
    let output = io.run(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut lines = said.lines().filter(|line| line.starts_with("qcow2: "));
    Some(lines.next().unwrap_or_default().to_owned())
}

fn our_words(bql: &mut BqlGuard, path: &Path, deed: Deed, read_only: bool, checks: &str) -> String {
    let options = Qcow2Options {
        overlap_check: Some(checks.to_owned()),
        ..Qcow2Options::default()
    };
    let node = open_with(bql, path, read_only, options).expect("opened");
    let root = match read_only {
        true => crate::support::backend(bql, &node, block_gs::Perm::CONSISTENT_READ)
            .expect("nobody objects"),
        false => disk(bql, &node),
    };
    let done = match deed {
        Deed::Read(offset, bytes) => read(bql, &root, offset, bytes).map(drop),
        Deed::Write(offset, bytes) => write(bql, &root, offset, &vec![7; bytes]),
    };
    // What is stored late is found out late.
    let done = match (done, read_only) {
        (Ok(()), false) => flush(bql, &root),
        (done, _) => done,
    };
    drop(root);
    close(bql, node);
    let text = done.err().map(|error| error.to_string());
    text.filter(|text| text.starts_with("qcow2: "))
        .unwrap_or_default()
}

#[test]
fn damaged_images_are_not_made_worse_in_the_same_words() {
    if Tool::find("qemu-io").is_none() {
        return;
    }
    let first = Deed::Write(0, 512);
    let in_l1: Damage = |bytes| {
        let (l1, l2) = (l1_of(bytes), l2_of(bytes));
        put(bytes, l2, &(l1 | COPIED).to_be_bytes());
    };
    let inactive: Damage = |bytes| {
        // The first-level table of the snapshot refers to it.
        let snapshots = word(bytes, 64);
        let table = word(bytes, word(bytes, snapshots)) & OFFSET;
        let l2 = l2_of(bytes);
        put(bytes, l2, &(table | COPIED).to_be_bytes());
    };
    let inactive_l1: Damage = |bytes| {
        let table = word(bytes, word(bytes, 64));
        let l2 = l2_of(bytes);
        put(bytes, l2, &(table | COPIED).to_be_bytes());
    };
    let cases: Vec<(&str, &str, Deed, bool, Damage)> = vec![
        ("nothing", "all", first, false, |_| {}),
        (
            "data in the first-level table",
            "cached",
            first,
            false,
            in_l1,
        ),
        ("the same, constant", "constant", first, false, in_l1),
        ("the same, unguarded", "none", first, false, in_l1),
        ("data in the header", "constant", first, false, |bytes| {
            // Only the header may be at 0.
            let l2 = l2_of(bytes);
            put(bytes, l2, &(512 | COPIED).to_be_bytes());
        }),
        ("data in a table", "cached", first, false, |bytes| {
            let l2 = l2_of(bytes);
            put(bytes, l2, &(l2 | COPIED).to_be_bytes());
        }),
        ("the same, constant", "constant", first, false, |bytes| {
            let l2 = l2_of(bytes);
            put(bytes, l2, &(l2 | COPIED).to_be_bytes());
        }),
        (
            "data in a block of counts",
            "cached",
            first,
            false,
            |bytes| {
                let (block, l2) = (block_of(bytes), l2_of(bytes));
                put(bytes, l2, &(block | COPIED).to_be_bytes());
            },
        ),
        (
            "data in the table of blocks",
            "constant",
            first,
            false,
            |bytes| {
                let (table, l2) = (word(bytes, 48), l2_of(bytes));
                put(bytes, l2, &(table | COPIED).to_be_bytes());
            },
        ),
        (
            "data in the table of snapshots",
            "constant",
            first,
            false,
            |bytes| {
                let (table, l2) = (word(bytes, 64), l2_of(bytes));
                put(bytes, l2, &(table | COPIED).to_be_bytes());
            },
        ),
        (
            "data in an old first-level table",
            "cached",
            first,
            false,
            inactive_l1,
        ),
        ("the same, constant", "constant", first, false, inactive_l1),
        ("data in an old table", "cached", first, false, inactive),
        ("the same, all", "all", first, false, inactive),
        (
            "table in the first-level table",
            "cached",
            Deed::Write(65536, 512),
            false,
            |bytes| {
                let l1 = l1_of(bytes);
                put(bytes, l1, &(l1 | COPIED).to_be_bytes());
            },
        ),
        (
            "table in a block of counts",
            "cached",
            Deed::Write(65536, 512),
            false,
            |bytes| {
                let (l1, block) = (l1_of(bytes), block_of(bytes));
                // What is counted is no entry that makes sense.
                let zeroes = [0; 8];
                put(bytes, block + 16 * 8, &zeroes);
                put(bytes, l1, &(block | COPIED).to_be_bytes());
            },
        ),
        ("unaligned table", "cached", first, false, |bytes| {
            let (l1, l2) = (l1_of(bytes), l2_of(bytes));
            put(bytes, l1, &((l2 + 512) | COPIED).to_be_bytes());
        }),
        (
            "unaligned table, read",
            "cached",
            Deed::Read(0, 512),
            false,
            |bytes| {
                let (l1, l2) = (l1_of(bytes), l2_of(bytes));
                put(bytes, l1, &((l2 + 512) | COPIED).to_be_bytes());
            },
        ),
        (
            "unaligned table, only read",
            "cached",
            Deed::Read(0, 512),
            true,
            |bytes| {
                let (l1, l2) = (l1_of(bytes), l2_of(bytes));
                put(bytes, l1, &((l2 + 512) | COPIED).to_be_bytes());
            },
        ),
        ("unaligned data", "cached", first, false, |bytes| {
            let l2 = l2_of(bytes);
            let entry = word(bytes, l2);
            put(bytes, l2, &(entry + 512).to_be_bytes());
        }),
        (
            "unaligned data, read",
            "cached",
            Deed::Read(0, 512),
            false,
            |bytes| {
                let l2 = l2_of(bytes);
                let entry = word(bytes, l2);
                put(bytes, l2, &(entry + 512).to_be_bytes());
            },
        ),
        (
            "unaligned data, only read",
            "cached",
            Deed::Read(4096, 512),
            true,
            |bytes| {
                let l2 = l2_of(bytes);
                let entry = word(bytes, l2 + 8);
                put(bytes, l2 + 8, &(entry + 512).to_be_bytes());
            },
        ),
        (
            "unaligned zeroes, read",
            "cached",
            Deed::Read(0, 512),
            false,
            |bytes| {
                let l2 = l2_of(bytes);
                let entry = word(bytes, l2);
                put(bytes, l2, &(entry + 513).to_be_bytes());
            },
        ),
        (
            "unaligned data, further on",
            "cached",
            Deed::Write(1024, 512),
            false,
            |bytes| {
                let l2 = l2_of(bytes);
                let entry = word(bytes, l2);
                put(bytes, l2, &(entry + 512).to_be_bytes());
            },
        ),
        (
            "unaligned zeroes",
            "cached",
            Deed::Write(0, 4096),
            false,
            |bytes| {
                let l2 = l2_of(bytes);
                let entry = word(bytes, l2);
                put(bytes, l2, &(entry + 513).to_be_bytes());
            },
        ),
        (
            "unaligned block of counts",
            "cached",
            Deed::Write(600_000, 512),
            false,
            |bytes| {
                let (table, block) = (word(bytes, 48), block_of(bytes));
                put(bytes, table, &(block + 512).to_be_bytes());
            },
        ),
        (
            "header that is free",
            "cached",
            Deed::Write(600_000, 512),
            false,
            |bytes| {
                let block = block_of(bytes);
                put(bytes, block, &[0, 0]);
            },
        ),
        (
            "first-level table that is free",
            "cached",
            Deed::Write(600_000, 512),
            false,
            |bytes| {
                let (block, l1) = (block_of(bytes), l1_of(bytes));
                put(bytes, block + l1 / 4096 * 2, &[0, 0]);
            },
        ),
    ];
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        sample(bql, &path, 4096, 16);
        let node = open(bql, &path, false).expect("opened");
        let mut info = SnapshotInfo {
            name: "s".into(),
            ..Default::default()
        };
        node.drain(bql).create_snapshot(&mut info).expect("made");
        let root = disk(bql, &node);
        write(bql, &root, 0, &[4; 40_000]).expect("written");
        drop(root);
        close(bql, node);
        let good = std::fs::read(&path).expect("read");
        let mut differences = Vec::new();
        for (name, checks, deed, read_only, damage) in cases {
            let mut bytes = good.clone();
            damage(&mut bytes);
            std::fs::write(&path, &bytes).expect("written");
            let theirs = their_words(&path, deed, read_only, checks).expect("it is there");
            let marked = word(&std::fs::read(&path).expect("read"), 72);
            std::fs::write(&path, &bytes).expect("written");
            let ours = our_words(bql, &path, deed, read_only, checks);
            let marked_here = word(&std::fs::read(&path).expect("read"), 72);
            if ours != theirs || marked != marked_here {
                differences.push(format!(
                    "{name} ({checks}): {ours:?} ({marked_here}), and QEMU: {theirs:?} ({marked})"
                ));
            }
        }
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    });
}

#[test]
fn single_guards_differ_from_the_template() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        sample(bql, &path, 4096, 16);
        let mut bytes = std::fs::read(&path).expect("read");
        let (block, l2) = (block_of(&bytes), l2_of(&bytes));
        put(&mut bytes, l2, &(block | COPIED).to_be_bytes());
        for (template, single, on, refused) in [
            ("none", OverlapChecks::REFCOUNT_BLOCK, true, true),
            ("none", OverlapChecks::ACTIVE_L2, true, false),
            ("all", OverlapChecks::REFCOUNT_BLOCK, false, false),
        ] {
            std::fs::write(&path, &bytes).expect("written");
            let options = Qcow2Options {
                overlap_check: Some(template.to_owned()),
                overlap_checks: vec![(single, on)],
                ..Qcow2Options::default()
            };
            let node = open_with(bql, &path, false, options).expect("opened");
            let root = disk(bql, &node);
            let done = write(bql, &root, 0, &[7; 512]);
            assert_eq!(done.is_err(), refused, "{template}, {single:?}");
            drop(root);
            close(bql, node);
        }
    });
}

#[test]
fn entries_that_do_not_fit_a_data_file_are_refused_in_the_same_words() {
    if Tool::find("qemu-io").is_none() {
        return;
    }
    let elsewhere: Damage = |bytes| {
        let l2 = l2_of(bytes);
        put(bytes, l2 + 8, &(8192 | COPIED).to_be_bytes());
    };
    let packed: Damage = |bytes| {
        let l2 = l2_of(bytes);
        put(bytes, l2, &(1u64 << 62 | 4096).to_be_bytes());
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        let data = directory.path().join("data");
        let options = CreateOptions {
            cluster_size: 4096,
            data_file: Some(data.to_str().expect("text").to_owned()),
            ..CreateOptions::new(1 << 20)
        };
        create(bql, &path, &options);
        let node = open(bql, &path, false).expect("opened");
        let root = disk(bql, &node);
        write(bql, &root, 0, &[4; 40_000]).expect("written");
        drop(root);
        close(bql, node);
        let good = std::fs::read(&path).expect("read");
        for (name, deed, damage) in [
            ("elsewhere", Deed::Read(4096, 512), elsewhere),
            ("packed", Deed::Read(0, 512), packed),
        ] {
            let mut bytes = good.clone();
            damage(&mut bytes);
            std::fs::write(&path, &bytes).expect("written");
            let theirs = their_words(&path, deed, false, "cached").expect("it is there");
            std::fs::write(&path, &bytes).expect("written");
            let ours = our_words(bql, &path, deed, false, "cached");
            assert_eq!(ours, theirs, "{name}");
            assert_ne!(ours, "", "{name}");
        }
    });
}
