//! Images that we make.

use block_io::Preallocation;
use block_qcow2::CreateOptions;
use block_qcow2::format::header::Compression;

use crate::support::{Tool, close, create, disk, in_layer, open, pattern, qemu_reads, turn, write};

fn kinds(directory: &std::path::Path) -> Vec<CreateOptions> {
    let base = CreateOptions::new(5 << 20);
    let mut kinds = vec![base.clone()];
    for cluster_size in [512, 4096, 2 << 20] {
        kinds.push(CreateOptions {
            cluster_size,
            ..base.clone()
        });
    }
    for refcount_bits in [1, 8, 64] {
        kinds.push(CreateOptions {
            refcount_bits,
            cluster_size: 1024,
            ..base.clone()
        });
    }
    kinds.push(CreateOptions {
        version: 2,
        ..base.clone()
    });
    kinds.push(CreateOptions {
        size: 0,
        ..base.clone()
    });
    kinds.push(CreateOptions {
        size: 512,
        lazy_refcounts: true,
        ..base.clone()
    });
    kinds.push(CreateOptions {
        extended_l2: true,
        ..base.clone()
    });
    kinds.push(CreateOptions {
        compression: Compression::Zstd,
        ..base.clone()
    });
    for preallocation in [
        Preallocation::Metadata,
        Preallocation::Falloc,
        Preallocation::Full,
    ] {
        for cluster_size in [512, 65536] {
            kinds.push(CreateOptions {
                preallocation,
                cluster_size,
                ..base.clone()
            });
        }
        kinds.push(CreateOptions {
            preallocation,
            extended_l2: true,
            ..base.clone()
        });
    }
    for data_file_raw in [false, true] {
        let data_file = Some(directory.join("data").to_str().expect("text").to_owned());
        kinds.push(CreateOptions {
            data_file,
            data_file_raw,
            ..base.clone()
        });
    }
    kinds
}

#[test]
fn qemu_finds_nothing_wrong_with_them() {
    let (Some(qemu_img), Some(qemu_io)) = (Tool::find("qemu-img"), Tool::find("qemu-io")) else {
        return;
    };
    in_layer(|bql, directory| {
        for options in kinds(directory.path()) {
            let path = directory.path().join("image");
            create(bql, &path, &options);
            turn(bql);
            let text = path.to_str().expect("text");
            let check = qemu_img.run(["check", "-q", text]);
            assert!(check.status.success(), "{options:?}: {check:?}");
            assert!(
                qemu_reads(&qemu_img, &path) == vec![0; options.size as usize],
                "{options:?}"
            );
            if options.size < 1 << 20 {
                continue;
            }
            qemu_io.succeed(["-c", "write -P 9 100k 300k", text]);
            let mut model = vec![0; options.size as usize];
            model[100 << 10..400 << 10].fill(9);
            let node = open(bql, &path, false).expect("opened");
            let data = pattern(200_000, 4);
            let disk = disk(bql, &node);
            write(bql, &disk, 3_000_001, &data).expect("written");
            model[3_000_001..3_200_001].copy_from_slice(&data);
            close(bql, (disk, node));
            let check = qemu_img.run(["check", "-q", text]);
            assert!(check.status.success(), "{options:?}: {check:?}");
            assert!(qemu_reads(&qemu_img, &path) == model, "{options:?}");
        }
    });
}

#[test]
fn what_cannot_be_is_refused_in_the_same_words() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    let base = CreateOptions::new(1 << 20);
    let old = CreateOptions {
        version: 2,
        ..base.clone()
    };
    let cases = [
        (
            "cluster_size=1000",
            CreateOptions {
                cluster_size: 1000,
                ..base.clone()
            },
        ),
        (
            "cluster_size=4M",
            CreateOptions {
                cluster_size: 4 << 20,
                ..base.clone()
            },
        ),
        (
            "refcount_bits=5",
            CreateOptions {
                refcount_bits: 5,
                ..base.clone()
            },
        ),
        (
            "compat=0.10,refcount_bits=8",
            CreateOptions {
                refcount_bits: 8,
                ..old.clone()
            },
        ),
        (
            "compat=0.10,lazy_refcounts=on",
            CreateOptions {
                lazy_refcounts: true,
                ..old.clone()
            },
        ),
        (
            "compat=0.10,extended_l2=on",
            CreateOptions {
                extended_l2: true,
                ..old.clone()
            },
        ),
        (
            "cluster_size=4k,extended_l2=on",
            CreateOptions {
                extended_l2: true,
                cluster_size: 4096,
                ..base.clone()
            },
        ),
        (
            "compat=0.10,compression_type=zstd",
            CreateOptions {
                compression: Compression::Zstd,
                ..old
            },
        ),
        (
            "data_file_raw=on",
            CreateOptions {
                data_file_raw: true,
                ..base
            },
        ),
    ];
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("image");
    for (options, ours) in cases {
        let text = path.to_str().expect("text");
        let output = qemu_img.run(["create", "-q", "-f", "qcow2", "-o", options, text, "1M"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let words = ours.check().expect_err("refused").to_string();
        assert!(
            said.trim_end().ends_with(&words),
            "{options}: {said:?} and {words:?}"
        );
    }
}
