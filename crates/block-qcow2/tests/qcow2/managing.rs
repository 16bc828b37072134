//! Checks, resizing, snapshots and the like, with QEMU looking on.

use std::path::Path;

use block_gs::{Backend, BqlGuard, Node, Perm, SnapshotInfo, SnapshotKey};
use block_io::{BackingName, CheckResult, Preallocation, Repairs, Request};
use block_qcow2::{CreateOptions, Qcow2Image};

use crate::support::{
    READ_WRITE, Tool, backend, create, discard, disk, flush, in_layer, open, pattern, qemu_reads,
    read, write,
};

fn close(bql: &mut BqlGuard, disk: Backend, node: Node) {
    drop((disk, node));
    bql.poll(block_io::aio::Wait::No);
}

fn assert_clean(qemu_img: &Tool, path: &Path) {
    let check = qemu_img.run(["check", path.to_str().expect("text")]);
    assert!(
        check.status.success(),
        "{}{}",
        String::from_utf8_lossy(&check.stdout),
        String::from_utf8_lossy(&check.stderr)
    );
}

fn check(bql: &mut BqlGuard, node: &Node, repairs: Repairs) -> CheckResult {
    let mut section = node.drain(bql);
    section
        .io(async |request: Request<'_>| request.check(repairs).await)
        .expect("looked at")
}

/// What QEMU counts: corruptions and leaks.
fn qemu_counts(qemu_img: &Tool, path: &Path) -> (u64, u64) {
    let output = qemu_img.run(["check", "--output=json", path.to_str().expect("text")]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = |key: &str| {
        let at = text.find(&format!("\"{key}\": "))?;
        let digits = text[at..].chars().skip_while(|c| !c.is_ascii_digit());
        digits
            .take_while(char::is_ascii_digit)
            .collect::<String>()
            .parse()
            .ok()
    };
    (
        number("corruptions").unwrap_or(0),
        number("leaks").unwrap_or(0),
    )
}

fn small() -> CreateOptions {
    CreateOptions {
        cluster_size: 4096,
        ..CreateOptions::new(4 << 20)
    }
}

/// An image with some data, leaks and corruption made by `damage`.
fn damaged(bql: &mut BqlGuard, path: &Path, damage: impl FnOnce(&mut Vec<u8>)) {
    create(bql, path, &small());
    let node = open(bql, path, false).expect("opened");
    let disk = disk(bql, &node);
    write(bql, &disk, 0, &pattern(100_000, 1)).expect("written");
    write(bql, &disk, 3 << 20, &pattern(50_000, 2)).expect("written");
    close(bql, disk, node);
    let mut bytes = std::fs::read(path).expect("read");
    damage(&mut bytes);
    std::fs::write(path, bytes).expect("written");
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight"))
}

fn first_l2(bytes: &[u8]) -> usize {
    (word(bytes, word(bytes, 40) as usize) & 0x00ff_ffff_ffff_fe00) as usize
}

fn block_of_counts(bytes: &[u8]) -> usize {
    word(bytes, word(bytes, 48) as usize) as usize
}

#[test]
fn a_check_finds_what_qemu_finds_and_repairs_it() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 5] = [
        ("nothing", |_| {}),
        ("a leak", |bytes| {
            let l2 = first_l2(bytes);
            bytes[l2..l2 + 24].fill(0);
        }),
        ("a count that is too small", |bytes| {
            let block = block_of_counts(bytes);
            bytes[block + 2 * 10 + 1] = 0;
            bytes[block + 2 * 12 + 1] = 0;
        }),
        ("a count that is too large", |bytes| {
            let block = block_of_counts(bytes);
            bytes[block + 2 * 10 + 1] = 7;
        }),
        ("a missing flag", |bytes| {
            let l2 = first_l2(bytes);
            bytes[l2] &= 0x7f;
        }),
    ];
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        for (name, damage) in damages {
            damaged(bql, &path, damage);
            let (corruptions, leaks) = qemu_counts(&qemu_img, &path);
            let node = open(bql, &path, true).expect("opened");
            let found = check(bql, &node, Repairs::empty());
            assert_eq!(
                (found.corruptions, found.leaks),
                (corruptions, leaks),
                "{name}"
            );
            drop(node);
            bql.poll(block_io::aio::Wait::No);
            let node = open(bql, &path, false).expect("opened");
            let repaired = check(bql, &node, Repairs::LEAKS | Repairs::ERRORS);
            assert_eq!((repaired.corruptions, repaired.leaks), (0, 0), "{name}");
            let fixed = repaired.corruptions_fixed + repaired.leaks_fixed;
            assert_eq!(fixed > 0, corruptions + leaks > 0, "{name}");
            drop(node);
            bql.poll(block_io::aio::Wait::No);
            assert_clean(&qemu_img, &path);
        }
    });
}

#[test]
fn an_entry_that_cannot_be_marks_the_image() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        damaged(bql, &path, |bytes| {
            let l2 = first_l2(bytes);
            bytes[l2 + 6] |= 2;
        });
        let node = open(bql, &path, false).expect("opened");
        let disk = disk(bql, &node);
        let error = read(bql, &disk, 0, 512).expect_err("unaligned");
        let text = error.to_string();
        assert!(
            text.contains("Cluster allocation offset") && text.contains("unaligned (L2 offset: 0x"),
            "{text}"
        );
        assert_eq!(error.errno(), 5);
        let refused = write(bql, &disk, 1 << 20, &[1; 512]);
        assert!(refused.is_err(), "nothing is written any more");
        close(bql, disk, node);
        let info = qemu_img.succeed(["info", path.to_str().expect("text")]);
        assert!(info.contains("corrupt: true"), "{info}");
        let error = open(bql, &path, false).expect_err("corrupt");
        assert_eq!(
            error.to_string(),
            "qcow2: Image is corrupt; cannot be opened read/write"
        );
        let node = open(bql, &path, true).expect("to look at it");
        drop(node);
    });
}

fn resize(
    bql: &mut BqlGuard,
    node: &Node,
    length: u64,
    how: Preallocation,
) -> Result<(), block_gs::IoError> {
    let disk = backend(bql, node, READ_WRITE | Perm::RESIZE).expect("nobody objects");
    bql.block_on(disk.root().truncate(length, true, how))
}

#[test]
fn images_grow_and_shrink() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        for cluster_size in [512, 4096, 65536] {
            create(
                bql,
                &path,
                &CreateOptions {
                    cluster_size,
                    ..small()
                },
            );
            let node = open(bql, &path, false).expect("opened");
            let disk = disk(bql, &node);
            let mut model = vec![0; 4 << 20];
            let data = pattern(4 << 20, 5);
            write(bql, &disk, 0, &data).expect("written");
            model.copy_from_slice(&data);
            for length in [
                3_000_320usize,
                5 << 20,
                1_000_448,
                64 << 20,
                512,
                0,
                1 << 20,
            ] {
                resize(bql, &node, length as u64, Preallocation::Off).expect("resized");
                model.resize(length, 0);
                assert!(
                    read(bql, &disk, 0, length).expect("read") == model,
                    "{length}"
                );
                if length > 100_000 {
                    write(bql, &disk, 70_000, &data[..20_000]).expect("written");
                    model[70_000..90_000].copy_from_slice(&data[..20_000]);
                }
            }
            let said = resize(bql, &node, 1000, Preallocation::Off).expect_err("not whole sectors");
            assert_eq!(said.to_string(), "The new size must be a multiple of 512");
            for how in [
                Preallocation::Metadata,
                Preallocation::Falloc,
                Preallocation::Full,
            ] {
                let length = model.len() + (3 << 20);
                resize(bql, &node, length as u64, how).expect("resized");
                model.resize(length, 0);
                assert!(read(bql, &disk, 0, length).expect("read") == model, "{how}");
            }
            close(bql, disk, node);
            assert_clean(&qemu_img, &path);
            assert!(qemu_reads(&qemu_img, &path) == model);
        }
    });
}

/// Also where the first subcluster that goes has nothing.
#[test]
fn what_is_cut_off_of_a_cluster_does_not_come_back() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        let options = CreateOptions {
            cluster_size: 16384,
            extended_l2: true,
            ..small()
        };
        create(bql, &path, &options);
        let node = open(bql, &path, false).expect("opened");
        let disk = disk(bql, &node);
        write(bql, &disk, 0, &pattern(1024, 1)).expect("written");
        write(bql, &disk, 10_240, &pattern(2048, 2)).expect("written");
        let was = node.io().length();
        for length in [5120, was] {
            resize(bql, &node, length, Preallocation::Off).expect("resized");
        }
        let mut model = pattern(1024, 1);
        model.resize(16384, 0);
        assert!(read(bql, &disk, 0, model.len()).expect("read") == model);
    });
}

fn snapshot(bql: &mut BqlGuard, node: &Node, name: &str) -> String {
    let mut info = SnapshotInfo {
        name: name.to_owned(),
        ..Default::default()
    };
    node.drain(bql).create_snapshot(&mut info).expect("made");
    info.id
}

#[test]
fn snapshots_are_made_shown_and_deleted() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        for options in [
            small(),
            CreateOptions {
                extended_l2: true,
                cluster_size: 16384,
                ..small()
            },
        ] {
            create(bql, &path, &options);
            let node = open(bql, &path, false).expect("opened");
            let disk = disk(bql, &node);
            let mut states = Vec::new();
            let mut model = vec![0; 4 << 20];
            for round in 0..4u64 {
                for step in 0..10 {
                    let at = ((round * 37 + step * 101) * 7919 % 4000) as usize * 1000;
                    let data = pattern(9000, round * 100 + step);
                    write(bql, &disk, at as u64, &data).expect("written");
                    model[at..at + 9000].copy_from_slice(&data);
                }
                discard(bql, &disk, round << 17, 65536).expect("given up");
                let from = (round as usize) << 17;
                model[from..from + 65536].fill(0);
                let id = snapshot(bql, &node, &format!("s{round}"));
                assert_eq!(id, (round + 1).to_string());
                states.push(model.clone());
                assert!(read(bql, &disk, 0, model.len()).expect("read") == model);
            }
            flush(bql, &disk).expect("flushed");
            let listed = node.view(bql).snapshots(bql).expect("listed");
            let names: Vec<_> = listed.iter().map(|info| &*info.name).collect();
            assert_eq!(names, ["s0", "s1", "s2", "s3"]);
            for at in [1, 3, 0] {
                node.drain(bql)
                    .goto_snapshot(&format!("{}", at + 1))
                    .expect("gone to");
                assert!(
                    read(bql, &disk, 0, model.len()).expect("read") == states[at],
                    "s{at}"
                );
                let data = pattern(30_000, at as u64);
                write(bql, &disk, 12_345, &data).expect("written");
            }
            let which = SnapshotKey {
                id: None,
                name: Some("s1"),
            };
            node.drain(bql).delete_snapshot(which).expect("deleted");
            assert!(
                node.drain(bql).delete_snapshot(which).is_err(),
                "it is not there"
            );
            node.drain(bql).goto_snapshot("3").expect("gone to");
            assert!(read(bql, &disk, 0, model.len()).expect("read") == states[2]);
            close(bql, disk, node);
            assert_clean(&qemu_img, &path);
            let text = path.to_str().expect("text");
            let list = qemu_img.succeed(["snapshot", "-l", text]);
            assert!(
                list.contains("s0") && !list.contains("s1") && list.contains("s3"),
                "{list}"
            );
            qemu_img.succeed(["snapshot", "-a", "s0", text]);
            assert!(qemu_reads(&qemu_img, &path) == states[0]);
            qemu_img.succeed(["snapshot", "-a", "s3", text]);
            assert!(qemu_reads(&qemu_img, &path) == states[3]);
            for name in ["s0", "s2", "s3"] {
                qemu_img.succeed(["snapshot", "-d", name, text]);
            }
            assert_clean(&qemu_img, &path);
            assert!(qemu_reads(&qemu_img, &path) == states[3]);
        }
    });
}

#[test]
fn snapshots_of_qemu_are_used() {
    let (Some(qemu_img), Some(qemu_io)) = (Tool::find("qemu-img"), Tool::find("qemu-io")) else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        let text = path.to_str().expect("text");
        qemu_img.succeed(["create", "-q", "-f", "qcow2", text, "2M"]);
        qemu_io.succeed(["-c", "write -P 1 0 1M", text]);
        qemu_img.succeed(["snapshot", "-c", "first", text]);
        qemu_io.succeed(["-c", "write -P 2 512k 1M", text]);
        let node = open(bql, &path, false).expect("opened");
        let disk = disk(bql, &node);
        node.drain(bql).goto_snapshot("first").expect("gone to");
        let seen = read(bql, &disk, 0, 2 << 20).expect("read");
        assert!(seen[..1 << 20].iter().all(|byte| *byte == 1));
        assert!(seen[1 << 20..].iter().all(|byte| *byte == 0));
        let which = SnapshotKey {
            id: Some("1"),
            name: None,
        };
        node.drain(bql).delete_snapshot(which).expect("deleted");
        close(bql, disk, node);
        assert_clean(&qemu_img, &path);
    });
}

#[test]
fn an_emptied_image_shows_what_is_below() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        let base = directory.path().join("base");
        std::fs::write(&base, pattern(4 << 20, 3)).expect("written");
        let path = directory.path().join("image");
        let backing = Some("base".to_owned());
        create(
            bql,
            &path,
            &CreateOptions {
                backing_file: backing,
                backing_format: Some("raw".into()),
                ..small()
            },
        );
        let node = open(bql, &path, false).expect("opened");
        let disk = disk(bql, &node);
        write(bql, &disk, 1000, &[1; 1 << 20]).expect("written");
        node.drain(bql).make_empty().expect("emptied");
        let seen = read(bql, &disk, 0, 4 << 20).expect("read");
        assert!(seen == pattern(4 << 20, 3));
        let change = async |request: Request<'_>| {
            let to = BackingName {
                file: "other",
                format: Some("raw"),
            };
            request.change_backing_file(Some(to)).await
        };
        node.drain(bql).io(change).expect("renamed");
        close(bql, disk, node);
        let info = qemu_img.succeed(["info", path.to_str().expect("text")]);
        assert!(info.contains("backing file: other"), "{info}");
        std::fs::rename(&base, directory.path().join("other")).expect("renamed");
        assert_clean(&qemu_img, &path);
    });
}

#[test]
fn a_dirty_image_is_repaired_when_it_is_written() {
    let (Some(qemu_img), Some(qemu_io)) = (Tool::find("qemu-img"), Tool::find("qemu-io")) else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        let text = path.to_str().expect("text");
        qemu_img.succeed([
            "create",
            "-q",
            "-f",
            "qcow2",
            "-o",
            "lazy_refcounts=on",
            text,
            "2M",
        ]);
        qemu_io.run(["-c", "write -P 5 0 1M", "-c", "flush", "-c", "abort", text]);
        let file = block_drivers::File::new(&path)
            .read_only(true)
            .open(bql, "")
            .expect("opened");
        let image = Qcow2Image::read(bql, &file).expect("an image");
        let features = image.header().incompatible;
        assert!(features.contains(block_qcow2::format::header::Incompatible::DIRTY));
        drop((image, file));
        bql.poll(block_io::aio::Wait::No);
        let node = open(bql, &path, false).expect("opened");
        let disk = disk(bql, &node);
        write(bql, &disk, 1 << 20, &[6; 4096]).expect("written");
        assert!(
            read(bql, &disk, 0, 1 << 20)
                .expect("read")
                .iter()
                .all(|byte| *byte == 5)
        );
        close(bql, disk, node);
        assert_clean(&qemu_img, &path);
    });
}

#[test]
fn an_image_takes_what_qemu_measures() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    for (options, size, cluster_size, extended_l2) in [
        ("cluster_size=64k", 1u64 << 30, 65536, false),
        ("cluster_size=512", 100 << 20, 512, false),
        ("cluster_size=2M", 50 << 30, 2 << 20, false),
        ("cluster_size=64k,extended_l2=on", 10 << 30, 65536, true),
    ] {
        let said = qemu_img.succeed([
            "measure",
            "-O",
            "qcow2",
            "-o",
            options,
            "--size",
            &size.to_string(),
        ]);
        let ours = CreateOptions {
            cluster_size,
            extended_l2,
            ..CreateOptions::new(size)
        };
        let ours = ours.measure(0).expect("possible");
        let numbers: Vec<u64> = said
            .lines()
            .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
            .collect();
        assert_eq!(
            numbers[..2],
            [ours.required, ours.fully_allocated],
            "{options}"
        );
    }
}

#[test]
fn data_does_not_overwrite_metadata() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        type Damage = fn(&mut Vec<u8>) -> u64;
        let places: [(&str, Damage); 4] = [
            ("active L1 table", |bytes| word(bytes, 40)),
            ("active L2 table", |bytes| first_l2(bytes) as u64),
            ("refcount block", |bytes| block_of_counts(bytes) as u64),
            ("refcount table", |bytes| word(bytes, 48)),
        ];
        for (name, place) in places {
            damaged(bql, &path, |bytes| {
                let entry = place(bytes) | 1 << 63;
                let l2 = first_l2(bytes);
                bytes[l2..l2 + 8].copy_from_slice(&entry.to_be_bytes());
            });
            let before = std::fs::read(&path).expect("read");
            let node = open(bql, &path, false).expect("opened");
            let disk = disk(bql, &node);
            let error = write(bql, &disk, 0, &[7; 4096]).expect_err("metadata");
            let words = format!("Preventing invalid write on metadata (overlaps with {name})");
            assert!(error.to_string().contains(&words), "{error}");
            close(bql, disk, node);
            let after = std::fs::read(&path).expect("read");
            assert!(before[4096..] == after[4096..], "only the header says so");
        }
    });
}
