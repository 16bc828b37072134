//! Images that QEMU made.

use std::path::{Path, PathBuf};

use block_gs::{BqlGuard, Perm};
use tempfile::TempDir;

use crate::support::{Tool, backend, close, in_layer, open, qemu_reads, read};

/// An image made by `create` with `options`, and written by `commands`.
fn image(
    tools: &(Tool, Tool),
    directory: &Path,
    name: &str,
    options: &[&str],
    size: &str,
    commands: &[&str],
) -> PathBuf {
    let path = directory.join(name);
    let text = path.to_str().expect("text");
    let mut create = vec!["create", "-q", "-f", "qcow2"];
    create.extend(options);
    create.extend([text, size]);
    tools.0.succeed(&create);
    for command in commands {
        tools.1.succeed(["-f", "qcow2", "-c", command, text]);
    }
    path
}

fn tools() -> Option<(Tool, Tool)> {
    Some((Tool::find("qemu-img")?, Tool::find("qemu-io")?))
}

/// We read what QEMU reads, in one piece and in small ones.
fn same(bql: &mut BqlGuard, tools: &(Tool, Tool), path: &Path) {
    let expected = qemu_reads(&tools.0, path);
    let node = open(bql, path, true).expect("opened");
    assert_eq!(node.io().length(), expected.len() as u64);
    let disk = backend(bql, &node, Perm::CONSISTENT_READ).expect("a reader");
    let whole = read(bql, &disk, 0, expected.len()).expect("read");
    assert!(whole == expected, "{}", path.display());
    for (at, length) in [(1, 511), (4096, 4096), (65535, 2), (100_000, 70_001)] {
        let end = (at + length).min(expected.len());
        let piece = read(bql, &disk, at as u64, end - at).expect("read");
        assert!(piece == expected[at..end], "{at}");
    }
    close(bql, (disk, node));
}

fn each(test: impl FnOnce(&mut BqlGuard, &TempDir, &(Tool, Tool))) {
    let Some(tools) = tools() else { return };
    in_layer(|bql, directory| test(bql, directory, &tools));
}

const MIXED: &[&str] = &[
    "write -P 0x11 0 64k",
    "write -P 0x22 100k 3k",
    "write -z 200k 100k",
    "write -P 0x33 260k 512",
    "write -P 0x44 1M 300k",
    "write -z -u 1100k 64k",
    "discard 1M 64k",
    "write -P 0x55 2047k 1k",
];

#[test]
fn every_cluster_size_and_version() {
    each(|bql, directory, tools| {
        for bits in [9, 10, 12, 16, 18, 21] {
            for compat in ["0.10", "1.1"] {
                let options = format!("compat={compat},cluster_size={}", 1 << bits);
                let path = image(
                    tools,
                    directory.path(),
                    "image",
                    &["-o", &options],
                    "2M",
                    MIXED,
                );
                same(bql, tools, &path);
            }
        }
    });
}

#[test]
fn subclusters() {
    each(|bql, directory, tools| {
        for size in ["16k", "64k", "256k"] {
            let options = format!("extended_l2=on,cluster_size={size}");
            let path = image(
                tools,
                directory.path(),
                "image",
                &["-o", &options],
                "2M",
                MIXED,
            );
            same(bql, tools, &path);
        }
    });
}

#[test]
fn compressed_clusters() {
    each(|bql, directory, tools| {
        let raw = directory.path().join("source.raw");
        let mut bytes = Vec::new();
        for at in 0..3_000_000u32 {
            bytes.push(if at % 7 == 0 {
                (at >> 9) as u8
            } else {
                (at / 999) as u8
            });
        }
        std::fs::write(&raw, &bytes).expect("written");
        for kind in ["zlib", "zstd"] {
            for size in ["512", "4k", "64k", "2M"] {
                let path = directory.path().join("image");
                let options = format!("compression_type={kind},cluster_size={size}");
                let (from, to) = (raw.to_str().expect("text"), path.to_str().expect("text"));
                tools.0.succeed([
                    "convert", "-f", "raw", "-c", "-O", "qcow2", "-o", &options, from, to,
                ]);
                same(bql, tools, &path);
            }
        }
    });
}

#[test]
fn backing_images() {
    each(|bql, directory, tools| {
        let base = image(
            tools,
            directory.path(),
            "base",
            &[],
            "1M",
            &["write -P 0x66 0 1M"],
        );
        let middle = image(
            tools,
            directory.path(),
            "middle",
            &["-b", "base", "-F", "qcow2", "-o", "cluster_size=4k"],
            "3M",
            &[
                "write -P 0x77 4k 4k",
                "write -z 512k 64k",
                "write -P 0x78 2M 4k",
            ],
        );
        let top = image(
            tools,
            directory.path(),
            "top",
            &["-b", "middle", "-F", "qcow2", "-o", "extended_l2=on"],
            "4M",
            &[
                "write -P 0x79 70k 1k",
                "discard 600k 128k",
                "write -P 0x7a 3M 1M",
            ],
        );
        for path in [base, middle, top] {
            same(bql, tools, &path);
        }
    });
}

#[test]
fn data_files() {
    each(|bql, directory, tools| {
        for raw in ["on", "off"] {
            let data = directory.path().join("data");
            let options = format!("data_file={},data_file_raw={raw}", data.display());
            let path = image(
                tools,
                directory.path(),
                "image",
                &["-o", &options],
                "2M",
                MIXED,
            );
            same(bql, tools, &path);
        }
    });
}

#[test]
fn snapshots_do_not_change_what_is_read() {
    each(|bql, directory, tools| {
        let path = image(
            tools,
            directory.path(),
            "image",
            &[],
            "2M",
            &["write -P 1 0 1M"],
        );
        let text = path.to_str().expect("text");
        tools.0.succeed(["snapshot", "-c", "one", text]);
        tools.1.succeed(["-c", "write -P 2 512k 1M", text]);
        same(bql, tools, &path);
    });
}
