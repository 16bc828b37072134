//! Images made corrupt by hand: what is said about them is what QEMU says.
//!
//! Each image is made by `qemu-img` and then changed. It is opened, read and
//! written here and by `qemu-io`, each with a copy of its own.

use std::fs;
use std::path::Path;

use block_common::Perm;
use block_gs::{Backend, BlockLayer};
use block_io::Buffer;
use block_open::{Options, for_filename};
use test_support::Tool;

/// What is done once the image is open.
#[derive(Clone, Copy)]
enum Then {
    Read,
    Write,
}

struct Case {
    name: &'static str,
    create: &'static str,
    spoil: fn(&mut Vec<u8>),
    then: Then,
}

const fn case(name: &'static str, spoil: fn(&mut Vec<u8>)) -> Case {
    Case {
        name,
        create: "cluster_size=64k",
        spoil,
        then: Then::Read,
    }
}

const fn write(name: &'static str, spoil: fn(&mut Vec<u8>)) -> Case {
    Case {
        then: Then::Write,
        ..case(name, spoil)
    }
}

fn be32(image: &mut [u8], at: usize, value: u32) {
    image[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

fn be64(image: &mut [u8], at: usize, value: u64) {
    image[at..at + 8].copy_from_slice(&value.to_be_bytes());
}

fn word(image: &[u8], at: usize) -> u64 {
    image[at..at + 8]
        .iter()
        .fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// Where the first second-level table is, and the first refcount block.
fn l2(image: &[u8]) -> usize {
    let l1 = word(image, 40) as usize;
    (word(image, l1) & 0x00ff_ffff_ffff_fe00) as usize
}

fn block(image: &[u8]) -> usize {
    let table = word(image, 48) as usize;
    word(image, table) as usize
}

/// Puts an extension where the extensions begin.
fn extension(image: &mut [u8], kind: u32, length: u32, data: &[u8]) {
    be32(image, 112, kind);
    be32(image, 116, length);
    image[120..120 + data.len()].copy_from_slice(data);
}

const COPIED: u64 = 1 << 63;
const CLUSTER: u64 = 1 << 16;

const CASES: &[Case] = &[
    case("magic", |image| be32(image, 0, 0x5146_49fc)),
    case("version 1", |image| be32(image, 4, 1)),
    case("version 4", |image| be32(image, 4, 4)),
    case("clusters too small", |image| be32(image, 20, 8)),
    case("clusters too large", |image| be32(image, 20, 22)),
    case("cluster bits all set", |image| be32(image, 20, u32::MAX)),
    case("header too short", |image| be32(image, 100, 72)),
    case("header too long", |image| be32(image, 100, 0x7fff_ffff)),
    case("header beyond its cluster", |image| be32(image, 100, 65544)),
    case("backing name beyond the header", |image| {
        be64(image, 8, 0x7fff_ffff_ffff_ffff);
        be32(image, 16, 5);
    }),
    case("backing name too long", |image| {
        be64(image, 8, 0x400);
        be32(image, 16, 0x7fff_ffff);
    }),
    case("backing name of 1024 bytes", |image| {
        be64(image, 8, 0x400);
        be32(image, 16, 1024);
    }),
    case("refcount order", |image| be32(image, 96, 7)),
    case("no refcount table", |image| be32(image, 56, 0)),
    case("refcount table too large", |image| {
        be32(image, 56, 0xffff_ffff)
    }),
    case("refcount table a bit too large", |image| {
        be32(image, 56, 129)
    }),
    case("refcount table not aligned", |image| {
        be64(image, 48, 0x1234)
    }),
    case("refcount table beyond all", |image| {
        be64(image, 48, 0xffff_ffff_ffff_0000)
    }),
    case("snapshots too many", |image| be32(image, 60, 0xffff_ffff)),
    case("snapshots not aligned", |image| {
        be32(image, 60, 1);
        be64(image, 64, 0x1234);
    }),
    case("snapshots beyond all", |image| {
        be32(image, 60, 1);
        be64(image, 64, 0x7fff_ffff_ffff_0000);
    }),
    case("l1 too large", |image| be32(image, 36, 0xffff_ffff)),
    case("l1 a bit too large", |image| {
        be32(image, 36, (32 << 20) / 8 + 1)
    }),
    case("l1 not aligned", |image| be64(image, 40, 0x1234)),
    case("l1 beyond all", |image| {
        be64(image, 40, 0x7fff_ffff_ffff_0000)
    }),
    case("l1 too small", |image| be64(image, 24, 1 << 40)),
    case("size too large", |image| be64(image, 24, u64::MAX)),
    case("size of an exbibyte", |image| be64(image, 24, 1 << 60)),
    case("encrypted", |image| be32(image, 32, 1)),
    case("encrypted in a way nobody knows", |image| {
        be32(image, 32, 3)
    }),
    case("unknown feature", |image| be64(image, 72, 1 << 40)),
    case("unknown features", |image| {
        be64(image, 72, 1 << 40 | 1 << 62 | 1 << 7)
    }),
    case("unknown feature with a name", |image| {
        be64(image, 72, 1 << 40 | 1 << 50);
        let mut table = [0; 96];
        table[1] = 40;
        table[2..10].copy_from_slice(b"forty!!!");
        extension(image, 0x6803_f857, 96, &table);
    }),
    case("marked as corrupt", |image| be64(image, 72, 2)),
    write("marked as corrupt, to be written", |image| {
        be64(image, 72, 2)
    }),
    case("zstd without its bit", |image| image[104] = 1),
    case("zlib with the bit of others", |image| be64(image, 72, 8)),
    case("a compression nobody knows", |image| {
        be64(image, 72, 8);
        image[104] = 7;
    }),
    case("subclusters too small", |image| {
        be64(image, 72, 16);
        be32(image, 20, 12);
    }),
    case("extension too long", |image| {
        extension(image, 0x1234_5678, 0x7fff_ffff, &[])
    }),
    case("format of the backing image too long", |image| {
        extension(image, 0xe279_2aca, 64, &[b'x'; 64]);
    }),
    case("encryption header", |image| {
        extension(image, 0x0537_be77, 16, &[0; 16])
    }),
    case("bitmaps extension too short", |image| {
        extension(image, 0x2385_2875, 16, &[0; 16])
    }),
    case("no bitmaps", |image| {
        be64(image, 88, 1);
        extension(image, 0x2385_2875, 24, &[0; 24]);
    }),
    case("too many bitmaps", |image| {
        be64(image, 88, 1);
        let mut data = [0; 24];
        be32(&mut data, 0, 70_000);
        extension(image, 0x2385_2875, 24, &data);
    }),
    case("bitmaps not aligned", |image| {
        be64(image, 88, 1);
        let mut data = [0; 24];
        be32(&mut data, 0, 1);
        be64(&mut data, 8, 32);
        be64(&mut data, 16, 0x1234);
        extension(image, 0x2385_2875, 24, &data);
    }),
    case("bitmap directory too large", |image| {
        be64(image, 88, 1);
        let mut data = [0; 24];
        be32(&mut data, 0, 1);
        be64(&mut data, 8, 1 << 40);
        extension(image, 0x2385_2875, 24, &data);
    }),
    case("bitmap directory that is empty", |image| {
        be64(image, 88, 1);
        let mut data = [0; 24];
        be32(&mut data, 0, 1);
        be64(&mut data, 8, 32);
        be64(&mut data, 16, CLUSTER * 2);
        extension(image, 0x2385_2875, 24, &data);
    }),
    case("snapshot with too much extra data", |image| {
        let end = image.len().next_multiple_of(CLUSTER as usize);
        image.resize(end + CLUSTER as usize, 0);
        be32(image, 60, 1);
        be64(image, 64, end as u64);
        be32(image, end + 36, 0x8000_0000);
    }),
    case("snapshots beyond the file", |image| {
        be32(image, 60, 3);
        be64(image, 64, CLUSTER * 4096);
    }),
    case("data file that is not there", |image| be64(image, 72, 4)),
    case("l2 table not aligned", |image| {
        let l1 = word(image, 40) as usize;
        be64(image, l1, COPIED | 0x42a00);
    }),
    write("l2 table not aligned, written", |image| {
        let l1 = word(image, 40) as usize;
        be64(image, l1, COPIED | 0x42a00);
    }),
    case("l2 table beyond the file", |image| {
        let l1 = word(image, 40) as usize;
        be64(image, l1, COPIED | (CLUSTER * 4096));
    }),
    case("cluster not aligned", |image| {
        let at = l2(image);
        be64(image, at, COPIED | 0x52a00);
    }),
    write("cluster not aligned, written", |image| {
        let at = l2(image);
        be64(image, at, COPIED | 0x52a00);
    }),
    case("cluster beyond the file", |image| {
        let at = l2(image);
        be64(image, at, COPIED | (CLUSTER * 4096));
    }),
    case("a cluster that is its own table", |image| {
        let at = l2(image);
        be64(image, at, COPIED | at as u64);
    }),
    write("a cluster that is its own table, written", |image| {
        let at = l2(image);
        be64(image, at, COPIED | at as u64);
    }),
    write("a cluster that is the l1 table, written", |image| {
        let (at, l1) = (l2(image), word(image, 40));
        be64(image, at, COPIED | l1);
    }),
    write("a cluster that is the refcount table, written", |image| {
        let (at, table) = (l2(image), word(image, 48));
        be64(image, at, COPIED | table);
    }),
    write("a cluster that is a refcount block, written", |image| {
        let (at, block) = (l2(image), block(image));
        be64(image, at, COPIED | block as u64);
    }),
    write("everything is free", |image| {
        let at = block(image);
        image[at..at + 64].fill(0);
    }),
    write("everything is free, for a table", |image| {
        let (at, l1) = (block(image), word(image, 40) as usize);
        image[at..at + 64].fill(0);
        be64(image, l1, 0);
    }),
    write("the l1 table is free", |image| {
        let (at, l1) = (block(image), word(image, 40));
        image[at + 2 * (l1 / CLUSTER) as usize + 1] = 0;
        let l2 = l2(image);
        be64(image, l2, 0);
    }),
    write("refcount block not aligned", |image| {
        let (table, l2) = (word(image, 48) as usize, l2(image));
        be64(image, table, 0x2a200);
        be64(image, l2, 0);
    }),
    case("packed data that is none", |image| {
        let at = l2(image);
        be64(image, at, (1 << 62) | (CLUSTER * 3));
    }),
    case("packed data beyond the file", |image| {
        let at = l2(image);
        be64(image, at, (1 << 62) | (CLUSTER * 4096));
    }),
    Case {
        create: "cluster_size=64k,compression_type=zstd",
        ..case("packed data that is none, zstd", |image| {
            let at = l2(image);
            be64(image, at, (1 << 62) | (CLUSTER * 3));
        })
    },
    Case {
        create: "compat=0.10",
        ..case("zeroes in version 2", |image| {
            let at = l2(image);
            be64(image, at, 1);
        })
    },
    Case {
        create: "cluster_size=64k,extended_l2=on",
        ..case("a subcluster that is data and zeroes", |image| {
            let at = l2(image);
            be64(image, at + 8, 1 | 1 << 32);
        })
    },
    Case {
        create: "cluster_size=64k,extended_l2=on",
        ..case("a subcluster that is data and nowhere", |image| {
            let at = l2(image);
            be64(image, at, 0);
        })
    },
    case("cut off in the header", |image| image.truncate(80)),
    case("cut off in the tables", |image| image.truncate(3 << 16)),
    case("empty", Vec::clear),
];

/// Where our words differ on purpose, and what they are.
const DIFFERENT: &[(&str, &str)] = &[
    (
        "snapshots beyond all",
        "open: Failed to read snapshot table: offset(9223372036854710272) exceeds \
         maximum(9223372035781033984)",
    ),
    (
        "l1 beyond all",
        "open: Could not read L1 table: offset(9223372036854710272) exceeds \
         maximum(9223372035781033984)",
    ),
    ("size too large", "open: Image is too big"),
    (
        "encrypted",
        "open: Encrypted qcow2 images (method 1) are not supported",
    ),
    (
        "bitmap directory that is empty",
        "open: Broken bitmap directory: unsupported or inconsistent entry",
    ),
];

/// What a tool of QEMU says, without the path.
fn qemu_says(qemu_io: &Tool, path: &Path, then: Then) -> String {
    let text = path.to_str().expect("text");
    let arguments: &[&str] = match then {
        Then::Read => &["-r", "-f", "qcow2", "-c", "read 0 512", text],
        Then::Write => &["-f", "qcow2", "-c", "write 0 512", text],
    };
    let output = qemu_io.run(arguments);
    let said = [output.stderr, output.stdout].concat();
    let said = String::from_utf8_lossy(&said);
    let opened = said.split_once(&format!("can't open device {text}: "));
    let said = match opened {
        // The lines that follow are hints.
        Some((_, reason)) => format!("open: {}", reason.lines().next().unwrap_or_default()),
        None => {
            let lines = said
                .lines()
                .filter(|line| line.starts_with("qcow2: ") || line.contains("failed: "));
            lines.collect::<Vec<_>>().join("\n")
        }
    };
    said.replace(text, "IMAGE")
}

/// What is said here.
fn we_say(path: &Path, then: Then) -> String {
    let text = path.to_str().expect("text");
    let layer = BlockLayer::new().expect("a block layer");
    let said = layer.enter(|bql| {
        let (read_only, perm, verb) = match then {
            Then::Read => ("on", Perm::CONSISTENT_READ, "read"),
            Then::Write => ("off", Perm::CONSISTENT_READ | Perm::WRITE, "write"),
        };
        let options = Options::parse(&format!("driver=qcow2,read-only={read_only}"));
        let options = for_filename(text, options.expect("options")).expect("a name");
        let node = match block_open::open(bql, options) {
            Ok(node) => node,
            Err(error) => return format!("open: {error}"),
        };
        let disk = Backend::new(bql, "", perm, Perm::all()).expect("a backend");
        disk.insert(bql, &node).expect("nobody else is there");
        let mut buffer = Buffer::zeroed(512);
        let done = match then {
            Then::Read => bql.block_on(disk.root().read(0, buffer.destination())),
            Then::Write => bql.block_on(disk.root().write(0, buffer.source())),
        };
        let Err(error) = done else {
            return String::new();
        };
        let reason = std::io::Error::from_raw_os_error(error.errno()).to_string();
        let reason = reason
            .split(" (os error")
            .next()
            .unwrap_or_default()
            .to_owned();
        let failed = format!("{verb} failed: {reason}");
        let said = error.to_string();
        match said.starts_with("qcow2: ") {
            true => format!("{said}\n{failed}"),
            false => failed,
        }
    });
    said.replace(text, "IMAGE")
}

#[test]
fn corrupt_images_are_spoken_of_as_qemu_does() {
    let (Some(qemu_img), Some(qemu_io)) = (Tool::find("qemu-img"), Tool::find("qemu-io")) else {
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let mut different = Vec::new();
    for case in CASES {
        let path = directory.path().join("image");
        let text = path.to_str().expect("text");
        qemu_img.succeed(["create", "-q", "-f", "qcow2", "-o", case.create, text, "1M"]);
        qemu_io.succeed(["-c", "write -P 1 0 64k", text]);
        let mut bytes = fs::read(&path).expect("made");
        (case.spoil)(&mut bytes);
        fs::write(&path, &bytes).expect("spoilt");
        let qemu = qemu_says(&qemu_io, &path, case.then);
        fs::write(&path, &bytes).expect("spoilt");
        let here = we_say(&path, case.then);
        let wanted = DIFFERENT.iter().find(|(name, _)| *name == case.name);
        let wanted = wanted.map_or(qemu.as_str(), |(_, said)| *said);
        if here != wanted {
            different.push(format!("{}\n  QEMU: {qemu}\n  here: {here}", case.name));
        }
    }
    assert!(different.is_empty(), "\n{}", different.join("\n"));
}

/// QEMU goes on until it has no descriptors left.
#[test]
fn an_image_that_is_its_own_backing_image_is_refused() {
    let skeleton = fuzz::skeleton::skeleton(1);
    let mut header = skeleton.header.clone();
    header.backing_file = Some("image".to_owned());
    header.backing_format = Some("qcow2".to_owned());
    let mut bytes = skeleton.bytes.clone();
    let head = header.write().expect("it fits");
    bytes[..head.len()].copy_from_slice(&head);
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("image");
    fs::write(&path, bytes).expect("written");
    // As much stack as a main thread has; without optimisation it takes some.
    let thread = std::thread::Builder::new().stack_size(8 << 20);
    let said = thread
        .spawn(move || we_say(&path, Then::Read))
        .expect("a thread");
    let said = said.join().expect("no panic");
    assert!(
        said.starts_with("open: Could not open backing file: "),
        "{said}"
    );
    assert!(said.ends_with("Backing chain is too long"), "{said}");
}
