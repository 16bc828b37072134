//! Random operations, compared with plain bytes and looked at by QEMU.

use std::path::Path;

use block_gs::{Backend, BqlGuard, IoError, Perm};
use block_io::{Preallocation, Request, WriteFlags};
use block_qcow2::CreateOptions;
pub use test_support::Random;

use crate::support::{
    READ_WRITE, Tool, assert_sound_and_reads, attached, beside_qemu_img, close, create, discard,
    disk, flush, guest_with, in_layer, open, pattern, qemu_reads, read, text, turn, write,
    write_compressed, zero,
};

/// Writes `count` times somewhere; `model` has what must be read.
fn scribble(
    bql: &mut BqlGuard,
    path: &Path,
    model: &mut [u8],
    random: &mut Random,
    count: u32,
    cluster: u64,
    compressed: bool,
) {
    let (_node, disk) = attached(bql, path);
    let size = model.len() as u64;
    for step in 0..count {
        let offset = random.next(size);
        let most = [512, 5000, cluster, 4 * cluster, 300_000][random.next(5) as usize];
        let bytes = (1 + random.next(most)).min(size - offset);
        let (mut start, mut end) = (offset as usize, (offset + bytes) as usize);
        match random.next(12) {
            0..=5 => {
                let data = pattern(bytes as usize, random.next(1 << 30));
                write(bql, &disk, offset, &data).expect("written");
                model[start..end].copy_from_slice(&data);
            }
            6 | 7 => {
                let flags = [WriteFlags::empty(), WriteFlags::MAY_UNMAP][random.next(2) as usize];
                zero(bql, &disk, offset, bytes, flags).expect("zeroed");
                model[start..end].fill(0);
            }
            8 => {
                // Whole clusters, whose contents are known afterwards.
                start = start.next_multiple_of(cluster as usize).min(end);
                end = end / cluster as usize * cluster as usize;
                if start < end {
                    discard(bql, &disk, start as u64, (end - start) as u64).expect("given up");
                    let now = read(bql, &disk, start as u64, end - start).expect("read");
                    model[start..end].copy_from_slice(&now);
                }
            }
            9 if compressed => {
                start = start / cluster as usize * cluster as usize;
                end = (start + cluster as usize).min(model.len());
                let data: Vec<u8> = (start..end).map(|at| (at / 100) as u8).collect();
                write_compressed(bql, &disk, start as u64, &data).expect("written");
                model[start..end].copy_from_slice(&data);
            }
            10 => flush(bql, &disk).expect("flushed"),
            _ => {
                let seen = read(bql, &disk, offset, bytes as usize).expect("read");
                assert!(seen == model[start..end], "step {step}: {offset}+{bytes}");
            }
        }
    }
    let seen = read(bql, &disk, 0, model.len()).expect("read");
    assert!(seen == model, "at the end");
}

fn compare(qemu_img: &Tool, path: &Path, model: &[u8]) {
    let text = path.to_str().expect("text");
    let check = qemu_img.run(["check", "-q", text]);
    assert!(
        check.status.success(),
        "{}",
        String::from_utf8_lossy(&check.stdout)
    );
    assert!(
        qemu_reads(qemu_img, path) == model,
        "QEMU reads something else"
    );
}

fn random_operations(options: &str, cluster: u64, size: usize, backing: bool, compressed: bool) {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        let text = path.to_str().expect("text");
        let base = directory.path().join("base");
        let mut model = vec![0; size];
        let mut arguments = vec!["create", "-q", "-f", "qcow2", "-o", options];
        if backing {
            let below = pattern(size / 2 + 300, 77);
            std::fs::write(&base, &below).expect("written");
            model[..below.len()].copy_from_slice(&below);
            arguments.extend(["-b", "base", "-F", "raw"]);
        }
        let length = size.to_string();
        arguments.extend([text, &length]);
        qemu_img.succeed(&arguments);
        let mut random = Random(cluster ^ size as u64);
        for _ in 0..4 {
            scribble(
                bql,
                &path,
                &mut model,
                &mut random,
                150,
                cluster,
                compressed,
            );
            turn(bql);
            compare(&qemu_img, &path, &model);
        }
    });
}

#[test]
fn small_clusters() {
    random_operations("cluster_size=512", 512, 3 << 20, false, true);
}

#[test]
fn common_clusters() {
    random_operations("cluster_size=65536", 65536, 8 << 20, false, true);
}

#[test]
fn over_a_backing_image() {
    random_operations("cluster_size=4096", 4096, 4 << 20, true, true);
}

#[test]
fn in_the_old_format() {
    random_operations("cluster_size=4096,compat=0.10", 4096, 4 << 20, false, true);
}

#[test]
fn with_subclusters() {
    random_operations(
        "cluster_size=65536,extended_l2=on",
        65536,
        8 << 20,
        false,
        true,
    );
}

#[test]
fn with_subclusters_over_a_backing_image() {
    random_operations(
        "cluster_size=16384,extended_l2=on",
        16384,
        4 << 20,
        true,
        true,
    );
}

#[test]
fn with_narrow_and_wide_counts() {
    random_operations(
        "cluster_size=4096,refcount_bits=1",
        4096,
        2 << 20,
        true,
        false,
    );
    random_operations(
        "cluster_size=4096,refcount_bits=64",
        4096,
        2 << 20,
        true,
        true,
    );
}

/// Of a cluster that is divided, what is not there yet is kept as well, whatever
/// else of it is there.
#[test]
fn what_is_below_is_kept_in_divided_clusters() {
    in_layer(|bql, directory| {
        let (base, top) = (directory.path().join("base"), directory.path().join("top"));
        let divided = CreateOptions {
            cluster_size: 16384,
            extended_l2: true,
            ..CreateOptions::new(1 << 20)
        };
        create(bql, &base, &divided);
        let mut model = pattern(1 << 20, 5);
        let node = open(bql, &base, false).expect("opened");
        let below = disk(bql, &node);
        write(bql, &below, 0, &model).expect("written");
        below.remove(bql);
        drop(node);
        let over = CreateOptions {
            backing_file: Some("base".to_owned()),
            backing_format: Some("qcow2".to_owned()),
            ..divided
        };
        create(bql, &top, &over);
        let node = open(bql, &top, false).expect("opened");
        let disk = disk(bql, &node);
        // At the beginning, in the middle and at the end of clusters.
        for at in [0, 3 * 16384 + 4096, 6 * 16384 - 512] {
            model[at..at + 512].fill(9);
            write(bql, &disk, at as u64, &[9; 512]).expect("written");
        }
        let mut section = node.drain(bql);
        section.track_overlaps();
        let kept = section.io(async |request: Request<'_>| request.populate(0, 1 << 20).await);
        kept.expect("kept");
        section.set_backing(None).expect("nobody objects");
        section.end();
        assert!(read(bql, &disk, 0, 1 << 20).expect("read") == model);
    });
}

#[test]
fn what_is_given_up_in_a_data_file_is_mapped_as_qemu_maps_it() {
    let Some(qemu_io) = Tool::find("qemu-io") else {
        return;
    };
    beside_qemu_img(|bql, path, qemu_img| {
        const M: u64 = 1 << 20;
        type Deed = fn(&mut BqlGuard, &Backend) -> Result<(), IoError>;
        let deeds: [(&str, Deed); 3] = [
            ("discard 2M 2M", |bql, disk| {
                discard(bql, disk, 2 * M, 2 * M)
            }),
            ("write -z -u 2M 2M", |bql, disk| {
                zero(bql, disk, 2 * M, 2 * M, WriteFlags::MAY_UNMAP)
            }),
            ("write -z 2M 2M", |bql, disk| {
                zero(bql, disk, 2 * M, 2 * M, WriteFlags::empty())
            }),
        ];
        for (data_file_raw, extended_l2) in [(false, false), (false, true), (true, false)] {
            for (command, deed) in deeds {
                let what = format!("{command}, raw {data_file_raw}, extended {extended_l2}");
                let options = CreateOptions {
                    data_file: Some(text(&path.with_file_name("data")).to_owned()),
                    data_file_raw,
                    extended_l2,
                    ..CreateOptions::new(8 * M)
                };
                let map = || qemu_img.succeed(["map", "--output=json", text(path)]);
                let counted = || qemu_img.succeed(["check", text(path)]);
                create(bql, path, &options);
                turn(bql);
                qemu_io.succeed(["-c", "write 1M 4M", "-c", command, text(path)]);
                let theirs = (map(), counted());
                create(bql, path, &options);
                let (node, disk) = attached(bql, path);
                write(bql, &disk, M, &vec![7; 4 << 20]).expect("written");
                deed(bql, &disk).expect("done");
                close(bql, (disk, node));
                assert_eq!((map(), counted()), theirs, "{what}");
                // What is written there again is found again.
                let (node, disk) = attached(bql, path);
                write(bql, &disk, 3 * M + 1024, &[8; 512]).expect("written");
                close(bql, (disk, node));
                let mut seen = vec![0; 8 << 20];
                seen[1 << 20..2 << 20].fill(7);
                seen[4 << 20..5 << 20].fill(7);
                seen[(3 << 20) + 1024..(3 << 20) + 1536].fill(8);
                assert_sound_and_reads(qemu_img, path, &seen);
            }
        }
    });
}

#[test]
fn what_is_cut_off_of_a_data_file_is_mapped_as_qemu_maps_it() {
    beside_qemu_img(|bql, path, qemu_img| {
        const M: u64 = 1 << 20;
        for data_file_raw in [false, true] {
            let options = CreateOptions {
                data_file: Some(text(&path.with_file_name("data")).to_owned()),
                data_file_raw,
                ..CreateOptions::new(8 * M)
            };
            let map = || qemu_img.succeed(["map", "--output=json", text(path)]);
            let counted = || qemu_img.succeed(["check", text(path)]);
            let begin = |bql: &mut BqlGuard| {
                create(bql, path, &options);
                let (node, disk) = attached(bql, path);
                write(bql, &disk, M, &vec![7; 4 << 20]).expect("written");
                close(bql, (disk, node));
            };
            begin(bql);
            qemu_img.succeed(["resize", "--shrink", text(path), "3M"]);
            qemu_img.succeed(["resize", text(path), "8M"]);
            let theirs = (map(), counted());
            begin(bql);
            let node = open(bql, path, false).expect("opened");
            let disk = guest_with(bql, &node, READ_WRITE | Perm::RESIZE);
            for size in [3 * M, 8 * M] {
                let resize = disk.root().truncate(size, true, Preallocation::Off);
                bql.block_on(resize).expect("resized");
            }
            close(bql, (disk, node));
            assert_eq!((map(), counted()), theirs, "raw: {data_file_raw}");
            let mut seen = vec![0; 8 << 20];
            seen[1 << 20..3 << 20].fill(7);
            assert_sound_and_reads(qemu_img, path, &seen);
        }
    });
}
