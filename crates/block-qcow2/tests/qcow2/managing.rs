//! Checks, resizing, snapshots and the like, with QEMU looking on.

use std::path::Path;

use block_gs::{BqlGuard, Node, Perm, SnapshotKey};
use block_io::{BackingName, Preallocation, Repairs, Request};
use block_qcow2::{CreateOptions, Qcow2Image};

use crate::support::{
    COPIED, READ_WRITE, Stored, Tool, assert_sound, assert_sound_and_reads, at_a_path, attached,
    backend, beside_qemu_img, check, close, clusters_of, create, create_written, discard, flush,
    in_layer, open, pattern, qemu_reads, read, take_snapshot, text, write,
};

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
    clusters_of(4096, 4 << 20)
}

/// An image with some data, leaks and corruption made by `damage`.
fn damaged(bql: &mut BqlGuard, path: &Path, damage: impl FnOnce(&mut Stored)) {
    let written: [(u64, &[u8]); 2] = [(0, &pattern(100_000, 1)), (3 << 20, &pattern(50_000, 2))];
    create_written(bql, path, &small(), &written);
    Stored::damage(path, damage);
}

#[test]
fn a_check_finds_what_qemu_finds_and_repairs_it() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    type Damage = fn(&mut Stored);
    let damages: [(&str, Damage); 5] = [
        ("nothing", |_| {}),
        ("a leak", |image| image.put_bytes(image.l2(), &[0; 24])),
        ("a count that is too small", |image| {
            image.count(10, 0);
            image.count(12, 0);
        }),
        ("a count that is too large", |image| image.count(10, 7)),
        ("a missing flag", |image| {
            image.change(image.l2(), |entry| entry & !COPIED);
        }),
    ];
    at_a_path(|bql, path| {
        for (name, damage) in damages {
            damaged(bql, path, damage);
            let (corruptions, leaks) = qemu_counts(&qemu_img, path);
            let node = open(bql, path, true).expect("opened");
            let found = check(bql, &node, Repairs::empty()).expect("looked at");
            assert_eq!(
                (found.corruptions, found.leaks),
                (corruptions, leaks),
                "{name}"
            );
            close(bql, node);
            let node = open(bql, path, false).expect("opened");
            let repaired = check(bql, &node, Repairs::LEAKS | Repairs::ERRORS).expect("looked at");
            assert_eq!((repaired.corruptions, repaired.leaks), (0, 0), "{name}");
            let fixed = repaired.corruptions_fixed + repaired.leaks_fixed;
            assert_eq!(fixed > 0, corruptions + leaks > 0, "{name}");
            close(bql, node);
            assert_sound(&qemu_img, path);
        }
    });
}

#[test]
fn an_entry_that_cannot_be_marks_the_image() {
    beside_qemu_img(|bql, path, qemu_img| {
        damaged(bql, path, |image| {
            image.change(image.l2(), |entry| entry | 512);
        });
        let (node, disk) = attached(bql, path);
        let error = read(bql, &disk, 0, 512).expect_err("unaligned");
        let said = error.to_string();
        assert!(
            said.contains("Cluster allocation offset") && said.contains("unaligned (L2 offset: 0x"),
            "{said}"
        );
        assert_eq!(error.errno(), 5);
        let refused = write(bql, &disk, 1 << 20, &[1; 512]);
        assert!(refused.is_err(), "nothing is written any more");
        close(bql, (disk, node));
        let info = qemu_img.succeed(["info", text(path)]);
        assert!(info.contains("corrupt: true"), "{info}");
        let error = open(bql, path, false).expect_err("corrupt");
        assert_eq!(
            error.to_string(),
            "qcow2: Image is corrupt; cannot be opened read/write"
        );
        let node = open(bql, path, true).expect("to look at it");
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
    beside_qemu_img(|bql, path, qemu_img| {
        for cluster_size in [512, 4096, 65536] {
            create(
                bql,
                path,
                &CreateOptions {
                    cluster_size,
                    ..small()
                },
            );
            let (node, disk) = attached(bql, path);
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
            close(bql, (disk, node));
            assert_sound_and_reads(qemu_img, path, &model);
        }
    });
}

#[test]
fn snapshots_are_made_shown_and_deleted() {
    beside_qemu_img(|bql, path, qemu_img| {
        for options in [
            small(),
            CreateOptions {
                extended_l2: true,
                cluster_size: 16384,
                ..small()
            },
        ] {
            create(bql, path, &options);
            let (node, disk) = attached(bql, path);
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
                let id = take_snapshot(bql, &node, &format!("s{round}")).expect("made");
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
            close(bql, (disk, node));
            assert_sound(qemu_img, path);
            let text = path.to_str().expect("text");
            let list = qemu_img.succeed(["snapshot", "-l", text]);
            assert!(
                list.contains("s0") && !list.contains("s1") && list.contains("s3"),
                "{list}"
            );
            qemu_img.succeed(["snapshot", "-a", "s0", text]);
            assert!(qemu_reads(qemu_img, path) == states[0]);
            qemu_img.succeed(["snapshot", "-a", "s3", text]);
            assert!(qemu_reads(qemu_img, path) == states[3]);
            for name in ["s0", "s2", "s3"] {
                qemu_img.succeed(["snapshot", "-d", name, text]);
            }
            assert_sound(qemu_img, path);
            assert!(qemu_reads(qemu_img, path) == states[3]);
        }
    });
}

#[test]
fn snapshots_of_qemu_are_used() {
    let (Some(qemu_img), Some(qemu_io)) = (Tool::find("qemu-img"), Tool::find("qemu-io")) else {
        return;
    };
    at_a_path(|bql, path| {
        let text = path.to_str().expect("text");
        qemu_img.succeed(["create", "-q", "-f", "qcow2", text, "2M"]);
        qemu_io.succeed(["-c", "write -P 1 0 1M", text]);
        qemu_img.succeed(["snapshot", "-c", "first", text]);
        qemu_io.succeed(["-c", "write -P 2 512k 1M", text]);
        let (node, disk) = attached(bql, path);
        node.drain(bql).goto_snapshot("first").expect("gone to");
        let seen = read(bql, &disk, 0, 2 << 20).expect("read");
        assert!(seen[..1 << 20].iter().all(|byte| *byte == 1));
        assert!(seen[1 << 20..].iter().all(|byte| *byte == 0));
        let which = SnapshotKey {
            id: Some("1"),
            name: None,
        };
        node.drain(bql).delete_snapshot(which).expect("deleted");
        close(bql, (disk, node));
        assert_sound(&qemu_img, path);
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
        let (node, disk) = attached(bql, &path);
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
        close(bql, (disk, node));
        let info = qemu_img.succeed(["info", text(&path)]);
        assert!(info.contains("backing file: other"), "{info}");
        std::fs::rename(&base, directory.path().join("other")).expect("renamed");
        assert_sound(&qemu_img, &path);
    });
}

#[test]
fn a_dirty_image_is_repaired_when_it_is_written() {
    let (Some(qemu_img), Some(qemu_io)) = (Tool::find("qemu-img"), Tool::find("qemu-io")) else {
        return;
    };
    at_a_path(|bql, path| {
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
        let file = block_drivers::File::new(path)
            .read_only(true)
            .open(bql, "")
            .expect("opened");
        let image = Qcow2Image::read(bql, &file).expect("an image");
        let features = image.header().incompatible;
        assert!(features.contains(block_qcow2::format::header::Incompatible::DIRTY));
        close(bql, (image, file));
        let (node, disk) = attached(bql, path);
        write(bql, &disk, 1 << 20, &[6; 4096]).expect("written");
        assert!(
            read(bql, &disk, 0, 1 << 20)
                .expect("read")
                .iter()
                .all(|byte| *byte == 5)
        );
        close(bql, (disk, node));
        assert_sound(&qemu_img, path);
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
    at_a_path(|bql, path| {
        type Place = fn(&Stored) -> u64;
        let places: [(&str, Place); 4] = [
            ("active L1 table", Stored::l1),
            ("active L2 table", Stored::l2),
            ("refcount block", Stored::block),
            ("refcount table", Stored::table),
        ];
        for (name, place) in places {
            damaged(bql, path, |image| {
                image.put(image.l2(), place(image) | COPIED);
            });
            let before = Stored::read(path);
            let (node, disk) = attached(bql, path);
            let error = write(bql, &disk, 0, &[7; 4096]).expect_err("metadata");
            let words = format!("Preventing invalid write on metadata (overlaps with {name})");
            assert!(error.to_string().contains(&words), "{error}");
            close(bql, (disk, node));
            let after = Stored::read(path);
            assert!(
                before.0[4096..] == after.0[4096..],
                "only the header says so"
            );
        }
    });
}
