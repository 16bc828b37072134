//! Makes the part of the corpus that a program can make: images by the real
//! `qemu-img` and `qemu-io`, and what the other targets begin with.
//!
//! `cargo run -p fuzz --example seeds -- crates/fuzz/corpus`

use std::fs;
use std::path::Path;
use std::process::Command;

use fuzz::skeleton::skeleton;

/// Name, options of `create`, size, and the commands of `qemu-io` and
/// `qemu-img` that follow.
type Recipe = (
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
);

const IMAGES: &[Recipe] = &[
    (
        "v2",
        "compat=0.10,cluster_size=512",
        "64k",
        &["io write -P 1 0 3k", "io write -P 2 60k 512"],
    ),
    (
        "v3",
        "cluster_size=512",
        "64k",
        &[
            "io write -P 1 0 3k",
            "io write -z 1k 512",
            "io write -z -u 2k 512",
            "io discard 0 512",
        ],
    ),
    (
        "packed",
        "cluster_size=512",
        "32k",
        &[
            "io write -c -P 1 0 512",
            "io write -c -P 2 512 512",
            "io write -c -P 3 8k 512",
        ],
    ),
    (
        "zstd",
        "cluster_size=2k,compression_type=zstd",
        "32k",
        &[
            "io write -c -P 1 0 2k",
            "io write -c -P 2 4k 2k",
            "io write -P 3 20k 100",
        ],
    ),
    (
        "narrow",
        "cluster_size=512,refcount_bits=1",
        "32k",
        &["io write -P 1 0 2k"],
    ),
    (
        "wide",
        "cluster_size=512,refcount_bits=64",
        "32k",
        &["io write -P 1 0 2k"],
    ),
    (
        "subclusters",
        "cluster_size=16k,extended_l2=on",
        "128k",
        &[
            "io write -P 1 1k 2k",
            "io write -z 4k 512",
            "io write -c -P 3 32k 16k",
        ],
    ),
    (
        "snapshots",
        "cluster_size=512",
        "32k",
        &[
            "io write -P 1 0 2k",
            "img snapshot -c one",
            "io write -P 2 1k 2k",
            "img snapshot -c two",
            "io write -P 3 0 512",
        ],
    ),
    (
        "bitmaps",
        "cluster_size=512",
        "64k",
        &[
            "io write -P 1 0 2k",
            "img bitmap --add -g 512",
            "io write -P 2 1k 2k",
            "img bitmap --add --disable -g 64k",
        ],
    ),
    (
        "data-file",
        "cluster_size=1k,data_file=data",
        "32k",
        &["io write -P 1 0 2k"],
    ),
    (
        "raw-data",
        "cluster_size=1k,data_file=data,data_file_raw=on",
        "32k",
        &["io write -P 1 0 2k"],
    ),
    (
        "lazy",
        "cluster_size=1k,lazy_refcounts=on",
        "32k",
        &["io write -P 1 0 2k"],
    ),
    (
        "metadata",
        "cluster_size=512,preallocation=metadata",
        "8k",
        &["io write -P 1 0 2k"],
    ),
    ("empty", "cluster_size=1k", "0", &[]),
    ("vast", "cluster_size=4k", "1T", &[]),
];

fn run_in(directory: &Path, program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .output()
        .expect("the tool is there");
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
}

fn image(directory: &Path, recipe: &Recipe) -> Vec<u8> {
    let (name, options, size, then) = recipe;
    let path = directory.join(name);
    let path = path.to_str().expect("text");
    let mut arguments = vec!["create", "-q", "-f", "qcow2"];
    if !options.is_empty() {
        arguments.extend(["-o", options]);
    }
    arguments.extend([path, size]);
    run_in(directory, "qemu-img", &arguments);
    for (number, line) in then.iter().enumerate() {
        let (tool, line) = line.split_once(' ').expect("a tool and its words");
        if tool == "io" {
            run_in(directory, "qemu-io", &["-d", "unmap", "-c", line, path]);
            continue;
        }
        let mut words: Vec<&str> = line.split(' ').collect();
        let bitmap = format!("b{number}");
        match words[0] {
            "bitmap" => words.extend([path, &bitmap]),
            _ => words.push(path),
        }
        run_in(directory, "qemu-img", &words);
    }
    let mut bytes = fs::read(path).expect("made");
    // The end of a long image is a hole.
    while bytes.len() > 1 << 16 && bytes.ends_with(&[0; 4096]) {
        bytes.truncate(bytes.len() - 4096);
    }
    bytes
}

/// Decisions that make every kind of change.
const PLAN: [u8; 32] = [
    0, 1, 0, 0, 0, 0, 0, 9, 7, 8, 0x20, 0, 0, 120, 3, 6, 0x40, 0, 0, 0, 5, 10, 0x10, 0, 0, 110, 1,
    14, 0, 0, 0, 0,
];

const OPTIONS: &[&str] = &[
    r#"{"driver":"raw","node-name":"disk","size":4096,"file":{"driver":"null-co","size":8192}}"#,
    r#"[{"driver":"null-co","size":"1M"},{"driver":"stats","file":"disk"}]"#,
    "driver=raw,offset=512,size=1k,file.driver=null-co,file.size=1M",
    "driver=qcow2,file.driver=null-co,file.size=1M,file.read-zeroes=on,overlap-check=all",
    "driver=blkdebug,image.driver=null-co,inject-error.0.event=read_aio,inject-error.0.errno=5",
    r#"json:{"driver":"null-co","size":512}"#,
    "null-co://",
    "file:/nonexistent/a,,b",
    "nbd://host:10809/x",
    "1.5G",
    "0x7fffffffffffffff",
    "cluster_size=512,refcount_bits=1,compat=1.1,backing_file=a,,b,backing_fmt=raw",
    "cache.direct=on,cache.no-flush=off,read-only=on,discard=unmap,detect-zeroes=unmap",
];

const RULES: &[&str] = &[
    "[inject-error]\nevent = \"read_aio\"\nerrno = \"5\"\nsector = \"1\"\nonce = \"on\"\n",
    "[set-state]\nstate = \"1\"\nevent = \"flush_to_os\"\nnew_state = \"2\"\n",
    "# nothing\n\n[inject-error]\niotype = \"write\"\nimmediately = \"on\"\nstate=\"2\"\n",
];

const LINES: &[&str] = &[
    "read -P 0 -s 4 -l 8 0 64k\nwrite -q -P 0xaa 1k 4k",
    "writev -P 3 0 512 512 1k\nreadv -v 0 512",
    "aio_write -z 0 4k\naio_flush\naio_read -C 0 512",
    "discard 0 4k\ntruncate 2k\nlength\ninfo\nmap\nalloc 0 64k",
    "zone_report 0 1\nhelp read\nquit",
    "--all -l x --longer=y -- -z",
];

fn main() {
    let target = std::env::args()
        .nth(1)
        .expect("the directory of the corpus");
    let target = Path::new(&target);
    let directory = tempfile::tempdir().expect("a directory");
    let put = |kind: &str, name: &str, bytes: &[u8]| {
        let directory = target.join(kind);
        fs::create_dir_all(&directory).expect("a directory");
        fs::write(directory.join(name), bytes).expect("written");
    };
    for recipe in IMAGES {
        let name = recipe.0;
        let bytes = image(directory.path(), recipe);
        put("whole", name, &[&bytes, &PLAN[..]].concat());
        let head = &bytes[..bytes.len().min(1024)];
        put("header", name, &[&[1], head, &PLAN[..]].concat());
    }
    for which in 0..6 {
        let skeleton = skeleton(which);
        let size = skeleton.header.cluster_size() as usize;
        let name = format!("skeleton-{which}");
        let head = &skeleton.bytes[..size.min(512)];
        put("header", &name, &[&[which], head, &PLAN[..]].concat());
        put("tables", &name, &[&[which, 0], &PLAN[..]].concat());
        let spoil = [which, 2, 0, 0, 0, 2, 5, 2, 0, 1, 4, 3, 1];
        put(
            "tables",
            &format!("{name}-spoilt"),
            &[&spoil, &PLAN[..]].concat(),
        );
        let at = skeleton.header.snapshots_offset as usize;
        let table = if at > 0 {
            &skeleton.bytes[at..at + 80]
        } else {
            &[][..]
        };
        let lists = [&[which, 0, 1, 1, 0, 0, 80], table, &PLAN[..]].concat();
        put("directories", &name, &lists);
        let mut bitmap = [0; 32];
        bitmap[6] = 0x40;
        bitmap[11] = 1;
        bitmap[16..20].copy_from_slice(&[1, 16, 0, 1]);
        bitmap[24] = b'b';
        let lists = [&[which, 0, 2, 0, 1, 0, 0, 0, 32], &bitmap[..], &PLAN[..]].concat();
        put("directories", &format!("{name}-bitmaps"), &lists);
        let packed = [
            &[which, 0, 1],
            &[0x63, 0, 1, 0, 0, 0xff, 0xff][..],
            &[0; 16],
        ]
        .concat();
        put("compressed", &name, &packed);
    }
    let zstd = [
        0x28, 0xb5, 0x2f, 0xfd, 0x60, 0, 15, 0x55, 0, 0, 0x10, 1, 1, 0, 0xfb, 0xff, 0x39, 0xc0, 2,
    ];
    put(
        "compressed",
        "frame",
        &[&[1, 7, 0], &zstd[..], &[0; 16]].concat(),
    );
    let texts = [("options", OPTIONS), ("rules", RULES), ("lines", LINES)];
    for (kind, texts) in texts {
        for (number, text) in texts.iter().enumerate() {
            put(kind, &format!("seed-{number}"), text.as_bytes());
        }
    }
}
