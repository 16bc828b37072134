//! What is done with images of a format, in several steps. Both tools must
//! answer every step alike, and QEMU's has to find nothing wrong with what is
//! left behind. The files themselves need not be the same.

use crate::both::{Place, ours, theirs, timeless};
use crate::lines::Line;

/// A step that begins so is QEMU's, whoever does the others.
const THEIRS: &str = "theirs";

/// Does each step of each sequence with both.
#[test]
fn steps_with_qcow2_are_alike() {
    let Some(theirs) = theirs() else {
        return;
    };
    for steps in QCOW2 {
        let (mine, other) = (Place::new(ours()), Place::new(&theirs));
        for line in *steps {
            let step = format!("{line:?} of {steps:?}");
            let (found, expected) = match line.split_first() {
                Some((&THEIRS, line)) => (mine.run_by(&theirs, line), other.run_by(&theirs, line)),
                _ => (mine.run(line), other.run(line)),
            };
            assert_eq!(
                timeless(&found.stderr),
                timeless(&expected.stderr),
                "{step}"
            );
            assert_eq!(found.status.code(), expected.status.code(), "{step}");
            let (found, expected) = (timeless(&found.stdout), timeless(&expected.stdout));
            match line {
                // Where the clusters are is nobody's business.
                [THEIRS, "check", ..] => {
                    assert_eq!(found.lines().next(), expected.lines().next(), "{step}");
                }
                _ => assert_eq!(found, expected, "{step}"),
            }
        }
    }
}

const QCOW2: &[&[Line]] = &[
    &[
        &[THEIRS, "create", "-q", "-f", "qcow2", "q", "1M"],
        &["info", "q"],
    ],
    &[
        &[THEIRS, "create", "-q", "-f", "qcow2", "q", "1M"],
        &["info", "--output", "json", "q"],
    ],
    &[
        &[
            THEIRS, "create", "-q", "-f", "qcow2", "-b", "a", "-F", "raw", "q",
        ],
        &["info", "q"],
        &["info", "-b", "q"],
        &["info", "-b", "--output", "json", "q"],
        &["map", "q"],
        &["map", "--output", "json", "q"],
    ],
    &[
        &[THEIRS, "convert", "-O", "qcow2", "a", "q"],
        &["info", "q"],
        &["map", "q"],
        &["map", "--output", "json", "q"],
        &["check", "q"],
        &["compare", "a", "q"],
        &["compare", "-s", "a", "q"],
        &["convert", "q", "o"],
        &["compare", "a", "o"],
    ],
    &[
        &[THEIRS, "convert", "-c", "-O", "qcow2", "a", "q"],
        &["info", "q"],
        &["map", "q"],
        &["map", "--output", "json", "q"],
        &["check", "q"],
        &["compare", "a", "q"],
        &["convert", "q", "o"],
    ],
    &[&["create", "-f", "qcow2", "-b", "a", "x"]],
    &[&["create", "-f", "qcow2", "-b", "nonex", "-F", "raw", "x"]],
    &[&[
        "create", "-f", "qcow2", "-b", "nonex", "-u", "-F", "raw", "x",
    ]],
    &[&[
        "create", "-f", "qcow2", "-b", "nonex", "-u", "-F", "raw", "x", "5M",
    ]],
    &[&[
        "create",
        "-f",
        "qcow2",
        "-o",
        "cluster_size=4k,extended_l2=on",
        "x",
        "1M",
    ]],
    &[&[
        "create",
        "-f",
        "qcow2",
        "-o",
        "compat=0.10,lazy_refcounts=on",
        "x",
        "1M",
    ]],
    &[
        &[
            "create",
            "-f",
            "qcow2",
            "-o",
            "preallocation=full",
            "x",
            "1M",
        ],
        &[THEIRS, "check", "x"],
    ],
    &[&[
        "create",
        "-f",
        "qcow2",
        "-o",
        "preallocation=foo",
        "x",
        "1M",
    ]],
    &[&["create", "-f", "qcow2", "-o", "cluster_size=5k", "x", "1M"]],
    &[&["create", "-f", "qcow2", "x", "7E"]],
    &[
        &["convert", "-O", "qcow2", "-c", "a", "q"],
        &[THEIRS, "check", "q"],
        &[THEIRS, "compare", "a", "q"],
    ],
    &[
        &["convert", "-O", "qcow2", "-S", "0", "sparse", "q"],
        &[THEIRS, "check", "q"],
        &[THEIRS, "compare", "sparse", "q"],
    ],
    &[
        &[
            "convert",
            "-O",
            "qcow2",
            "-o",
            "preallocation=metadata",
            "a",
            "q",
        ],
        &[THEIRS, "check", "q"],
        &[THEIRS, "compare", "a", "q"],
    ],
    &[
        &["convert", "-O", "qcow2", "-m", "16", "-W", "big", "q"],
        &[THEIRS, "check", "q"],
        &[THEIRS, "compare", "big", "q"],
    ],
    &[
        &["convert", "-O", "qcow2", "-c", "-W", "-m", "4", "big", "q"],
        &[THEIRS, "check", "q"],
        &[THEIRS, "compare", "big", "q"],
    ],
    &[&["convert", "-O", "qcow2", "-B", "b", "a", "o"]],
    &[&[
        "convert", "-O", "qcow2", "-B", "b", "-F", "raw", "a", "a", "o",
    ]],
    &[&["convert", "-O", "qcow2", "-B", "", "a", "o"]],
    &[&[
        "convert", "-O", "qcow2", "-B", "nonex", "-F", "raw", "a", "o",
    ]],
    &[&["convert", "-O", "qcow2", "-o", "backing_file=b", "a", "o"]],
    &[
        &[
            "convert",
            "-O",
            "qcow2",
            "-o",
            "backing_file=b,backing_fmt=raw",
            "a",
            "q",
        ],
        &[THEIRS, "check", "q"],
    ],
    &[&[
        "convert",
        "-O",
        "qcow2",
        "-c",
        "-o",
        "preallocation=full",
        "a",
        "o",
    ]],
    &[
        &[THEIRS, "create", "-q", "-f", "qcow2", "q", "1M"],
        &["convert", "-n", "-O", "qcow2", "a", "q"],
        &[THEIRS, "compare", "a", "q"],
        &[THEIRS, "check", "q"],
    ],
    &[
        &[THEIRS, "create", "-q", "-f", "qcow2", "q", "1M"],
        &["convert", "-n", "-O", "qcow2", "--target-is-zero", "a", "q"],
        &[THEIRS, "compare", "a", "q"],
        &[THEIRS, "check", "q"],
    ],
    &[
        &[THEIRS, "create", "-q", "-f", "qcow2", "q", "1M"],
        &["convert", "-n", "-O", "qcow2", "-c", "a", "q"],
        &[THEIRS, "compare", "a", "q"],
        &[THEIRS, "check", "q"],
    ],
    &[
        &[THEIRS, "create", "-q", "-f", "qcow2", "q", "1M"],
        &[
            "convert",
            "-n",
            "--target-image-opts",
            "a",
            "driver=qcow2,file.filename=q",
        ],
        &[THEIRS, "compare", "a", "q"],
        &[THEIRS, "check", "q"],
    ],
    &[
        &[
            THEIRS, "create", "-q", "-f", "qcow2", "-b", "a", "-F", "raw", "q",
        ],
        &["convert", "-O", "qcow2", "-B", "a", "-F", "raw", "q", "o"],
        &[THEIRS, "compare", "q", "o"],
        &[THEIRS, "check", "o"],
    ],
    &[
        &[
            THEIRS, "create", "-q", "-f", "qcow2", "-b", "a", "-F", "raw", "q",
        ],
        &["convert", "q", "o"],
        &[THEIRS, "compare", "a", "o"],
    ],
    &[
        &[
            THEIRS, "create", "-q", "-f", "qcow2", "-b", "a", "-F", "raw", "q",
        ],
        &["resize", "q", "2M"],
        &[THEIRS, "check", "q"],
        &[THEIRS, "info", "q"],
        &["map", "--output", "json", "q"],
    ],
    &[
        &[THEIRS, "create", "-q", "-f", "qcow2", "q", "2M"],
        &["resize", "q", "1M"],
    ],
    &[
        &[THEIRS, "create", "-q", "-f", "qcow2", "q", "2M"],
        &["resize", "q", "+1000"],
        &[THEIRS, "info", "q"],
    ],
    &[
        &[THEIRS, "create", "-q", "-f", "qcow2", "q", "2M"],
        &["resize", "--preallocation", "full", "q", "3M"],
        &[THEIRS, "check", "q"],
    ],
    &[
        &[THEIRS, "convert", "-O", "qcow2", "a", "q"],
        &[THEIRS, "snapshot", "-c", "s1", "q"],
        &["convert", "-l", "s1", "q", "o"],
        &["compare", "a", "o"],
        &["convert", "-l", "foo", "q", "o"],
        &["convert", "-l", "snapshot.id=1", "q", "o"],
        &["convert", "-l", "snapshot.id=7", "q", "o"],
        &["convert", "-l", "snapshot.id=1,snapshot.name=s1", "q", "o"],
        &["convert", "-l", "snapshot.name=s", "q", "o"],
    ],
    &[
        &[
            THEIRS, "create", "-q", "-f", "qcow2", "-b", "a", "-F", "raw", "q",
        ],
        &["rebase", "-b", "", "q"],
        &[THEIRS, "info", "q"],
        &[THEIRS, "compare", "a", "q"],
        &[THEIRS, "check", "q"],
    ],
    &[
        &[
            THEIRS, "create", "-q", "-f", "qcow2", "-b", "a", "-F", "raw", "q",
        ],
        &["rebase", "-b", "c", "-F", "raw", "q"],
        &[THEIRS, "info", "q"],
        &[THEIRS, "compare", "a", "q"],
        &[THEIRS, "check", "q"],
        &[THEIRS, "map", "q"],
    ],
    &[
        &[
            THEIRS, "create", "-q", "-f", "qcow2", "-b", "a", "-F", "raw", "q",
        ],
        &["rebase", "-p", "-b", "c", "-F", "raw", "q"],
    ],
    &[
        &[
            THEIRS, "create", "-q", "-f", "qcow2", "-b", "a", "-F", "raw", "q",
        ],
        &["rebase", "-u", "-b", "c", "-F", "raw", "q"],
        &[THEIRS, "info", "q"],
    ],
    &[
        &[
            THEIRS, "create", "-q", "-f", "qcow2", "-b", "a", "-F", "raw", "q",
        ],
        &["rebase", "-u", "q"],
        &[THEIRS, "info", "q"],
    ],
    &[
        &[
            THEIRS, "create", "-q", "-f", "qcow2", "-b", "a", "-F", "raw", "q",
        ],
        &["rebase", "-u", "-b", "c", "q"],
    ],
    &[
        &[
            THEIRS, "create", "-q", "-f", "qcow2", "-b", "a", "-F", "raw", "q",
        ],
        &["rebase", "-b", "c", "q"],
    ],
    &[
        &[
            THEIRS, "create", "-q", "-f", "qcow2", "-b", "a", "-F", "raw", "q",
        ],
        &["rebase", "-b", "nonex", "-F", "raw", "q"],
    ],
    &[
        &[
            THEIRS, "create", "-q", "-f", "qcow2", "-b", "a", "-F", "raw", "q",
        ],
        &["rebase", "-b", "small", "-F", "raw", "q"],
        &[THEIRS, "compare", "a", "q"],
    ],
    &[
        &[
            THEIRS, "create", "-q", "-f", "qcow2", "-b", "a", "-F", "raw", "q",
        ],
        &["rebase", "-c", "-b", "", "q"],
        &[THEIRS, "compare", "a", "q"],
        &[THEIRS, "check", "q"],
    ],
    &[
        &[
            THEIRS, "create", "-q", "-f", "qcow2", "-b", "a", "-F", "raw", "q",
        ],
        &[
            THEIRS, "create", "-q", "-f", "qcow2", "-b", "q", "-F", "qcow2", "r",
        ],
        &["rebase", "-b", "a", "-F", "raw", "r"],
        &[THEIRS, "info", "r"],
        &[THEIRS, "compare", "a", "r"],
    ],
    &[
        &[
            THEIRS, "create", "-q", "-f", "qcow2", "-b", "small", "-F", "raw", "q", "1M",
        ],
        &["rebase", "-b", "a", "-F", "raw", "q"],
        &[THEIRS, "compare", "small", "q"],
        &[THEIRS, "check", "q"],
    ],
    &[&["measure", "-O", "qcow2", "--size", "1G"]],
    &[&["measure", "-O", "qcow2", "a"]],
    &[&["measure", "-O", "qcow2", "--output", "json", "a"]],
    &[&["measure", "-O", "qcow2", "sparse"]],
    &[&[
        "measure",
        "-O",
        "qcow2",
        "-o",
        "cluster_size=4k,extended_l2=on",
        "sparse",
    ]],
    &[&[
        "measure",
        "-O",
        "qcow2",
        "-o",
        "preallocation=full",
        "--size",
        "1G",
    ]],
    &[&["measure", "-O", "qcow2", "--size", "9223372036854775807"]],
    &[
        &[
            THEIRS, "create", "-q", "-f", "qcow2", "-b", "a", "-F", "raw", "q",
        ],
        &["commit", "q"],
    ],
    &[
        &[
            THEIRS, "create", "-q", "-f", "qcow2", "-b", "a", "-F", "raw", "q",
        ],
        &[THEIRS, "convert", "-n", "-O", "qcow2", "c", "q"],
        &["commit", "q"],
        &[THEIRS, "compare", "a", "c"],
        &[THEIRS, "map", "--output", "json", "q"],
        &[THEIRS, "check", "q"],
    ],
    &[
        &[
            THEIRS, "create", "-q", "-f", "qcow2", "-b", "a", "-F", "raw", "q",
        ],
        &[THEIRS, "convert", "-n", "-O", "qcow2", "c", "q"],
        &["commit", "-d", "-q", "q"],
        &[THEIRS, "compare", "a", "c"],
        &[THEIRS, "map", "q"],
    ],
    &[
        &[
            THEIRS, "create", "-q", "-f", "qcow2", "-b", "a", "-F", "raw", "q",
        ],
        &[
            THEIRS, "create", "-q", "-f", "qcow2", "-b", "q", "-F", "qcow2", "r",
        ],
        &[THEIRS, "convert", "-n", "-O", "qcow2", "c", "r"],
        &["commit", "-b", "a", "r"],
        &[THEIRS, "compare", "a", "c"],
        &[THEIRS, "check", "r"],
        &[THEIRS, "map", "q"],
    ],
    &[
        &[
            THEIRS, "create", "-q", "-f", "qcow2", "-b", "a", "-F", "raw", "q",
        ],
        &["commit", "-b", "nonex", "q"],
    ],
    &[
        &[
            THEIRS, "create", "-q", "-f", "qcow2", "-b", "small", "-F", "raw", "q", "1M",
        ],
        &[THEIRS, "convert", "-n", "-O", "qcow2", "c", "q"],
        &["commit", "q"],
        &[THEIRS, "compare", "small", "c"],
    ],
    &[&["map", "-f", "qcow2", "a"]],
    &[&["check", "-f", "qcow2", "a"]],
    &[&["info", "-f", "qcow2", "a"]],
    &[
        &[
            THEIRS,
            "create",
            "-q",
            "-f",
            "qcow2",
            "-o",
            "cluster_size=4k",
            "q",
            "1M",
        ],
        &["convert", "-n", "-O", "qcow2", "a", "q"],
        &[THEIRS, "check", "q"],
        &[THEIRS, "compare", "a", "q"],
    ],
    &[
        &[
            THEIRS,
            "convert",
            "-c",
            "-O",
            "qcow2",
            "-o",
            "compression_type=zstd",
            "a",
            "q",
        ],
        &["compare", "a", "q"],
        &["check", "q"],
        &["convert", "q", "o"],
        &["compare", "-s", "a", "o"],
    ],
    &[
        &[
            THEIRS, "create", "-q", "-f", "qcow2", "-b", "a", "-F", "raw", "q",
        ],
        &[
            THEIRS, "create", "-q", "-f", "qcow2", "-b", "q", "-F", "qcow2", "r",
        ],
        &["info", "-b", "r"],
        &["map", "r"],
        &["map", "--output", "json", "r"],
        &["compare", "a", "r"],
        &["compare", "-s", "a", "r"],
        &["check", "r"],
    ],
    &[
        &[
            THEIRS, "create", "-q", "-f", "qcow2", "-u", "-b", "r", "-F", "qcow2", "q", "1M",
        ],
        &[
            THEIRS, "create", "-q", "-f", "qcow2", "-u", "-b", "q", "-F", "qcow2", "r", "1M",
        ],
        &["info", "-b", "r"],
        &["info", "q"],
    ],
    &[
        &[
            THEIRS, "create", "-q", "-f", "qcow2", "-u", "-b", "nonex", "-F", "raw", "q", "1M",
        ],
        &["info", "q"],
        &["info", "-b", "q"],
        &["map", "q"],
        &["convert", "q", "o"],
        &["compare", "a", "q"],
        &["rebase", "-u", "-b", "a", "-F", "raw", "q"],
        &["compare", "a", "q"],
        &["check", "q"],
        &["resize", "q", "2M"],
    ],
    &[
        &[THEIRS, "create", "-q", "-f", "qcow2", "q", "64M"],
        &["convert", "-p", "-O", "qcow2", "q", "o"],
        &["check", "-p", "q"],
        &["compare", "-p", "q", "q"],
    ],
    &[
        &[THEIRS, "create", "-q", "-f", "qcow2", "q", "1M"],
        &["resize", "--preallocation", "metadata", "q", "2M"],
        &[THEIRS, "check", "q"],
        &["resize", "--preallocation", "falloc", "q", "3M"],
    ],
    &[
        &[THEIRS, "create", "-q", "-f", "qcow2", "q", "1M"],
        &["bench", "-c", "10", "-w", "q"],
        &[THEIRS, "check", "q"],
        &["bench", "-c", "10", "q"],
    ],
    &[
        &[THEIRS, "create", "-q", "-f", "qcow2", "q", "1M"],
        &["dd", "if=q", "of=o", "bs=64k"],
        &[THEIRS, "compare", "q", "o"],
        &["dd", "-O", "qcow2", "if=a", "of=o", "bs=64k"],
        &[THEIRS, "compare", "a", "o"],
    ],
    &[&["info", "--image-opts", "driver=qcow2,file.filename=a"]],
    &[&["info", "--image-opts", "driver=qcow2,file=a"]],
    &[
        &[THEIRS, "create", "-q", "-f", "qcow2", "q", "1M"],
        &["info", "--image-opts", "driver=qcow2,file.filename=q"],
        &[
            "info",
            "--image-opts",
            "driver=raw,file.driver=qcow2,file.file.filename=q",
        ],
        &[
            "info",
            "--image-opts",
            "driver=qcow2,lazy-refcounts=on,file.filename=q",
        ],
    ],
    &[
        &[THEIRS, "create", "-q", "-f", "qcow2", "q", "1M"],
        &["bitmap", "--add", "q", "b0"],
        &[THEIRS, "map", "q"],
        &[THEIRS, "check", "q"],
        &["bitmap", "--disable", "q", "b0"],
        &["bitmap", "--add", "-g", "32k", "q", "b1"],
        &["bitmap", "--merge", "b1", "q", "b0"],
        &["bitmap", "--clear", "q", "b0"],
        &["bitmap", "--remove", "q", "b0"],
        &["bitmap", "--remove", "q", "b0"],
        &[THEIRS, "bitmap", "--remove", "q", "b1"],
        &[THEIRS, "check", "q"],
    ],
    &[
        &[THEIRS, "create", "-q", "-f", "qcow2", "q", "1M"],
        &["bitmap", "--add", "q", "b0"],
        &["bitmap", "--add", "q", "b0"],
        &[
            "bitmap",
            "--remove",
            "--add",
            "--disable",
            "-g",
            "4k",
            "q",
            "b0",
        ],
        &["bitmap", "--merge", "nob", "q", "b0"],
        &["bitmap", "--merge", "b0", "-b", "nonex", "q", "b0"],
        &["bitmap", "--add", "-g", "5", "q", "x"],
        &[THEIRS, "check", "q"],
        &["bitmap", "--enable", "q", "b0"],
    ],
    &[
        &[THEIRS, "create", "-q", "-f", "qcow2", "q", "1M"],
        &[THEIRS, "create", "-q", "-f", "qcow2", "r", "1M"],
        &[THEIRS, "bitmap", "--add", "r", "s"],
        &[
            "bitmap", "--add", "--merge", "s", "-b", "r", "-F", "qcow2", "q", "t",
        ],
        &[THEIRS, "bitmap", "--remove", "q", "t"],
        &[THEIRS, "check", "q"],
    ],
    &[
        &[
            THEIRS,
            "create",
            "-q",
            "-f",
            "qcow2",
            "-o",
            "compat=0.10",
            "q",
            "1M",
        ],
        &["amend", "-o", "compat=1.1", "q"],
        &[THEIRS, "info", "q"],
        &["amend", "-o", "foo=1", "q"],
        &["amend", "-o", "preallocation=off", "q"],
        &["amend", "-o", "lazy_refcounts=on", "q"],
        &[THEIRS, "info", "q"],
        &[THEIRS, "check", "q"],
        &["amend", "-o", "compat=0.10", "q"],
        &["amend", "-p", "-o", "size=2M", "q"],
        &[THEIRS, "check", "q"],
    ],
];
