//! Checks: what is told, what is repaired, and what a repair leaves behind
//! that does not come to its end; what keeps damaged images from getting
//! worse.

use std::path::Path;
use std::sync::{Arc, Mutex};

use block_drivers::File;
use block_gs::{BqlGuard, Node, Perm};
use block_io::{CheckResult, Finding, IoError, Repairs, Request};
use block_qcow2::{CreateOptions, OverlapChecks, Qcow2Finding, Qcow2Image, Qcow2Options, Verdict};

use crate::support::tape::{Fails, Step, Tape};
use crate::support::{
    COPIED, Random, Stored, Tool, assert_sound, at_a_path, attached, backend, beside_qemu_img,
    close, create_written, disk, flush, in_layer, open, open_with, pattern, read, take_snapshot,
    text, write,
};

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

/// An image with data, and what a guest sees of it.
fn sample(bql: &mut BqlGuard, path: &Path, cluster_size: u64, refcount_bits: u32) -> Vec<u8> {
    let options = CreateOptions {
        cluster_size,
        refcount_bits,
        ..CreateOptions::new(1 << 20)
    };
    let data = pattern(300_000, 1);
    create_written(bql, path, &options, &[(10_000, &data)]);
    let mut seen = vec![0; 1 << 20];
    seen[10_000..310_000].copy_from_slice(&data);
    seen
}

#[test]
fn findings_have_a_type() {
    at_a_path(|bql, path| {
        sample(bql, path, 4096, 16);
        let cluster = Stored::read(path).clusters();
        Stored::damage(path, |image| {
            image.leak();
            image.count(cluster, 5);
        });
        let node = open(bql, path, false).expect("opened");
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
    at_a_path(|bql, path| {
        sample(bql, path, 4096, 16);
        let node = open(bql, path, true).expect("opened");
        let (found, _) = check(bql, &node, Repairs::LEAKS);
        assert!(matches!(found, Err(IoError::ReadOnly)));
        close(bql, node);
    });
}

#[test]
fn an_image_goes_on_after_it_was_repaired() {
    beside_qemu_img(|bql, path, qemu_img| {
        let mut seen = sample(bql, path, 4096, 16);
        // No block of counts any more.
        Stored::damage(path, |image| image.put(image.table(), 0));
        let file = File::new(path).open(bql, "").expect("opened");
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
        take_snapshot(bql, &node, "s").expect("made");
        write(bql, &disk, 0, &data).expect("written");
        seen[..400_000].copy_from_slice(&data);
        assert!(read(bql, &disk, 0, 1 << 20).expect("read") == seen);
        close(bql, (disk, file, node));
        assert_sound(qemu_img, path);
    });
}

/// Opens the image on a tape, to be checked.
fn image_on(bql: &mut BqlGuard, tape: &Arc<Tape>) -> Node {
    let file = tape.open(bql).expect("opened");
    let image = Qcow2Image::read_to_be_checked(bql, &file).expect("an image");
    image.open(bql, "").expect("opened")
}

/// Repairs what is in `bytes`, and demands that a guest sees the same.
fn assert_repairable(bql: &mut BqlGuard, bytes: &[u8], seen: &[u8], what: &str) {
    let tape = Tape::new(bytes);
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
    close(bql, (disk, node));
}

/// What is done to an image.
type Damage = fn(&mut Stored);

/// Ways to lose counts.
fn losses() -> Vec<(&'static str, Damage)> {
    vec![
        ("lost block", |image| image.put(image.table(), 0)),
        ("lost table", |image| image.put(48, 1 << 40)),
        ("block beyond the end", |image| {
            let end = (image.0.len() as u64 + 60_000).next_multiple_of(1 << 16);
            image.put(image.table(), end);
        }),
        ("block far beyond the end", |image| {
            image.put(image.table(), 1 << 62);
        }),
        ("unaligned block", |image| {
            image.put(image.table(), image.block() + 512);
        }),
        ("reserved bits", |image| {
            image.put(image.table(), image.block() | 2);
        }),
        ("block in the first-level table", |image| {
            image.put(image.table(), image.l1());
        }),
        ("block in a second-level table", |image| {
            image.put(image.table(), image.l2());
        }),
        ("nothing counted", |image| {
            image.put_bytes(image.block(), &[0; 512]);
        }),
    ]
}

#[test]
fn a_repair_that_stops_anywhere_loses_nothing() {
    at_a_path(|bql, path| {
        let mut random = Random(5);
        for (cluster_size, bits) in [(4096, 16), (1024, 64), (65536, 1)] {
            let seen = sample(bql, path, cluster_size, bits);
            let good = Stored::read(path);
            for (name, lose) in losses() {
                let mut damaged = good.clone();
                lose(&mut damaged);
                let bytes = damaged.0;
                let what = format!("{name}, {cluster_size} bytes, {bits} bits");
                let tape = Tape::new(&bytes);
                let node = image_on(bql, &tape);
                let (found, told) = check(bql, &node, ALL);
                let found = found.unwrap_or_else(|error| panic!("{what}: {error}, {told:?}"));
                assert_eq!((found.corruptions, found.leaks), (0, 0), "{what}");
                close(bql, node);
                let steps = tape.lock().steps.clone();
                for cut in 0..=steps.len() {
                    // A crash: what was flushed is there, and some of the rest.
                    let flushed = steps[..cut]
                        .iter()
                        .rposition(|step| matches!(step, Step::Flush));
                    let flushed = flushed.map_or(0, |at| at + 1);
                    let mut crashed = bytes.clone();
                    for (number, step) in steps[..cut].iter().enumerate() {
                        match step {
                            _ if number < flushed => step.apply(&mut crashed),
                            Step::Length(_) if random.next(2) == 0 => {}
                            _ => step.tear(&mut crashed, &mut random),
                        }
                    }
                    let what = format!("{what}, cut at {cut} of {}", steps.len());
                    assert_repairable(bql, &crashed, &seen, &what);
                    // An error: nothing is stored from then on.
                    let tape = Tape::new(&bytes);
                    tape.lock().fails = Fails::From(cut);
                    let node = image_on(bql, &tape);
                    let (found, told) = check(bql, &node, ALL);
                    let is_done = cut == steps.len();
                    assert!(found.is_err() || is_done, "{what}: {told:?}");
                    let left = tape.bytes();
                    // The same image is repaired as soon as that is possible.
                    tape.lock().fails = Fails::Never;
                    let (found, told) = check(bql, &node, ALL);
                    let found = found.expect("repaired");
                    assert_eq!((found.corruptions, found.leaks), (0, 0), "{what}: {told:?}");
                    close(bql, node);
                    assert_repairable(bql, &left, &seen, &what);
                }
            }
        }
    });
}

/// What is done to a damaged image: at an offset, with so many bytes.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Read(u64, usize),
    /// As `Read`, of an image that is opened for reading only.
    Look(u64, usize),
    Write(u64, usize),
}

impl Deed {
    fn is_read_only(self) -> bool {
        matches!(self, Deed::Look(..))
    }
}

/// What is done to an image that was damaged, checking overlaps so much.
struct Case {
    name: &'static str,
    checks: &'static str,
    deed: Deed,
    damage: Damage,
}

fn case(name: &'static str, checks: &'static str, deed: Deed, damage: Damage) -> Case {
    Case {
        name,
        checks,
        deed,
        damage,
    }
}

/// The line in which QEMU says that an image is corrupt, if it does.
fn their_words(path: &Path, deed: Deed, checks: &str) -> Option<String> {
    let io = Tool::find("qemu-io")?;
    let command = match deed {
        Deed::Read(offset, bytes) | Deed::Look(offset, bytes) => format!("read {offset} {bytes}"),
        Deed::Write(offset, bytes) => format!("write -P 7 {offset} {bytes}"),
    };
    let options = format!(
        "driver=qcow2,discard=unmap,overlap-check={checks},file.filename={}",
        text(path)
    );
    let mut arguments = vec!["--image-opts"];
    arguments.extend(deed.is_read_only().then_some("-r"));
    arguments.extend(["-c", &command, "-c", "flush", &options]);
    let output = io.run(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut lines = said.lines().filter(|line| line.starts_with("qcow2: "));
    Some(lines.next().unwrap_or_default().to_owned())
}

fn our_words(bql: &mut BqlGuard, path: &Path, deed: Deed, checks: &str) -> String {
    let options = Qcow2Options {
        overlap_check: Some(checks.to_owned()),
        ..Qcow2Options::default()
    };
    let read_only = deed.is_read_only();
    let node = open_with(bql, path, read_only, options).expect("opened");
    let root = match read_only {
        true => backend(bql, &node, Perm::CONSISTENT_READ).expect("nobody objects"),
        false => disk(bql, &node),
    };
    let done = match deed {
        Deed::Read(offset, bytes) | Deed::Look(offset, bytes) => {
            read(bql, &root, offset, bytes).map(drop)
        }
        Deed::Write(offset, bytes) => write(bql, &root, offset, &vec![7; bytes]),
    };
    // What is stored late is found out late.
    let done = match (done, read_only) {
        (Ok(()), false) => flush(bql, &root),
        (done, _) => done,
    };
    close(bql, (root, node));
    let text = done.err().map(|error| error.to_string());
    text.filter(|text| text.starts_with("qcow2: "))
        .unwrap_or_default()
}

#[test]
fn damaged_images_are_not_made_worse_in_the_same_words() {
    if Tool::find("qemu-io").is_none() {
        return;
    }
    const FIRST: Deed = Deed::Write(0, 512);
    /// Where the second table is new.
    const SECOND: Deed = Deed::Write(65536, 512);
    /// Where nothing is yet.
    const GROW: Deed = Deed::Write(600_000, 512);
    const READ: Deed = Deed::Read(0, 512);
    const LOOK: Deed = Deed::Look(0, 512);
    /// The guest's first cluster is said to be there.
    fn data_at(image: &mut Stored, place: u64) {
        image.put(image.l2(), place | COPIED);
    }
    let in_l1: Damage = |image| data_at(image, image.l1());
    let in_l2: Damage = |image| data_at(image, image.l2());
    // The first-level table of the snapshot, and what that refers to.
    let old_l1: Damage = |image| data_at(image, image.get(image.snapshots()));
    let old_l2: Damage = |image| {
        data_at(image, image.place(image.get(image.snapshots())));
    };
    let bad_table: Damage = |image| {
        image.put(image.l1(), (image.l2() + 512) | COPIED);
    };
    let bad_data: Damage = |image| image.change(image.entry(0), |entry| entry + 512);
    let bad_zeroes: Damage = |image| image.change(image.entry(0), |entry| entry + 513);
    let cases = [
        case("nothing", "all", FIRST, |_| {}),
        case("data in the first-level table", "cached", FIRST, in_l1),
        case("the same, constant", "constant", FIRST, in_l1),
        case("the same, unguarded", "none", FIRST, in_l1),
        case("data in the header", "constant", FIRST, |image| {
            // Only the header may be at 0.
            data_at(image, 512);
        }),
        case("data in a table", "cached", FIRST, in_l2),
        case("the same, constant", "constant", FIRST, in_l2),
        case("data in a block of counts", "cached", FIRST, |image| {
            data_at(image, image.block());
        }),
        case("data in the table of blocks", "constant", FIRST, |image| {
            data_at(image, image.table());
        }),
        case(
            "data in the table of snapshots",
            "constant",
            FIRST,
            |image| {
                data_at(image, image.snapshots());
            },
        ),
        case("data in an old first-level table", "cached", FIRST, old_l1),
        case("the same, constant", "constant", FIRST, old_l1),
        case("data in an old table", "cached", FIRST, old_l2),
        case("the same, all", "all", FIRST, old_l2),
        case(
            "table in the first-level table",
            "cached",
            SECOND,
            |image| {
                image.put(image.l1(), image.l1() | COPIED);
            },
        ),
        case("table in a block of counts", "cached", SECOND, |image| {
            // What is counted is no entry that makes sense.
            image.put(image.block() + 16 * 8, 0);
            image.put(image.l1(), image.block() | COPIED);
        }),
        case("unaligned table", "cached", FIRST, bad_table),
        case("unaligned table, read", "cached", READ, bad_table),
        case("unaligned table, only read", "cached", LOOK, bad_table),
        case("unaligned data", "cached", FIRST, bad_data),
        case("unaligned data, read", "cached", READ, bad_data),
        case(
            "unaligned data, only read",
            "cached",
            Deed::Look(4096, 512),
            |image| image.change(image.entry(1), |entry| entry + 512),
        ),
        case("unaligned zeroes, read", "cached", READ, bad_zeroes),
        case(
            "unaligned data, further on",
            "cached",
            Deed::Write(1024, 512),
            bad_data,
        ),
        case(
            "unaligned zeroes",
            "cached",
            Deed::Write(0, 4096),
            bad_zeroes,
        ),
        case("unaligned block of counts", "cached", GROW, |image| {
            image.put(image.table(), image.block() + 512);
        }),
        case("header that is free", "cached", GROW, |image| {
            image.count(0, 0);
        }),
        case("first-level table that is free", "cached", GROW, |image| {
            image.count(image.l1() / 4096, 0);
        }),
    ];
    at_a_path(|bql, path| {
        sample(bql, path, 4096, 16);
        let (node, root) = attached(bql, path);
        take_snapshot(bql, &node, "s").expect("made");
        write(bql, &root, 0, &[4; 40_000]).expect("written");
        close(bql, (root, node));
        let good = Stored::read(path);
        let mut differences = Vec::new();
        for case in cases {
            let Case {
                name,
                checks,
                deed,
                damage,
            } = case;
            let mut damaged = good.clone();
            damage(&mut damaged);
            damaged.write(path);
            let theirs = their_words(path, deed, checks).expect("it is there");
            let marked = Stored::read(path).get(72);
            damaged.write(path);
            let ours = our_words(bql, path, deed, checks);
            let marked_here = Stored::read(path).get(72);
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
    at_a_path(|bql, path| {
        sample(bql, path, 4096, 16);
        let mut damaged = Stored::read(path);
        damaged.put(damaged.l2(), damaged.block() | COPIED);
        for (template, single, on, refused) in [
            ("none", OverlapChecks::REFCOUNT_BLOCK, true, true),
            ("none", OverlapChecks::ACTIVE_L2, true, false),
            ("all", OverlapChecks::REFCOUNT_BLOCK, false, false),
        ] {
            damaged.write(path);
            let options = Qcow2Options {
                overlap_check: Some(template.to_owned()),
                overlap_checks: vec![(single, on)],
                ..Qcow2Options::default()
            };
            let node = open_with(bql, path, false, options).expect("opened");
            let root = disk(bql, &node);
            let done = write(bql, &root, 0, &[7; 512]);
            assert_eq!(done.is_err(), refused, "{template}, {single:?}");
            close(bql, (root, node));
        }
    });
}

#[test]
fn entries_that_do_not_fit_a_data_file_are_refused_in_the_same_words() {
    if Tool::find("qemu-io").is_none() {
        return;
    }
    let elsewhere: Damage = |image| image.put(image.entry(1), 8192 | COPIED);
    let packed: Damage = |image| image.put(image.entry(0), 1 << 62 | 4096);
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        let data = directory.path().join("data");
        let options = CreateOptions {
            cluster_size: 4096,
            data_file: Some(data.to_str().expect("text").to_owned()),
            ..CreateOptions::new(1 << 20)
        };
        create_written(bql, &path, &options, &[(0, &[4; 40_000])]);
        let good = Stored::read(&path);
        for (name, deed, damage) in [
            ("elsewhere", Deed::Read(4096, 512), elsewhere),
            ("packed", Deed::Read(0, 512), packed),
        ] {
            let mut damaged = good.clone();
            damage(&mut damaged);
            damaged.write(&path);
            let theirs = their_words(&path, deed, "cached").expect("it is there");
            damaged.write(&path);
            let ours = our_words(bql, &path, deed, "cached");
            assert_eq!(ours, theirs, "{name}");
            assert_ne!(ours, "", "{name}");
        }
    });
}
