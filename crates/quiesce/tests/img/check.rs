//! `check` of images that were damaged: both tools find the same, in the same
//! words, and repair the same; each finds nothing wrong any more with what the
//! other has left.

use std::path::PathBuf;
use std::process::{Command, Output};

use test_support::Random;
use test_support::stored::{COPIED, OFFSET, Stored};

use crate::both::{Place, ours, theirs};

/// What an image is like before it is damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Base {
    options: &'static str,
    size: &'static str,
    /// What `qemu-io` does to it.
    commands: &'static [&'static str],
    /// Then a snapshot is made, and the beginning is written again.
    snapshot: bool,
}

const FILL: &[&str] = &["write -P 1 0 64k", "write -P 2 128k 32k"];

const PACK: &[&str] = &[
    "write -P 1 0 64k",
    "write -P 2 128k 32k",
    "write -c -P 3 512k 16k",
];

const USUAL: Base = Base {
    options: "cluster_size=4096",
    size: "1M",
    commands: PACK,
    snapshot: true,
};

const PLAIN: Base = Base {
    commands: FILL,
    snapshot: false,
    ..USUAL
};

const EXTENDED: Base = Base {
    options: "cluster_size=16k,extended_l2=on",
    snapshot: false,
    ..USUAL
};

const DATA_FILE: Base = Base {
    options: "cluster_size=4096,data_file=d",
    ..PLAIN
};

const NARROW: Base = Base {
    options: "cluster_size=4096,refcount_bits=1",
    ..PLAIN
};

/// Many small blocks of counts.
const SMALL: Base = Base {
    options: "cluster_size=512,refcount_bits=64",
    size: "8M",
    commands: &["write -P 1 0 3M", "write -P 2 5M 2M", "write 4M 8k"],
    snapshot: false,
};

const OLD: Base = Base {
    options: "cluster_size=4096,compat=0.10",
    ..USUAL
};

/// What is done to an image.
type Damage = fn(&mut Stored);

/// How both compare.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    /// In every word.
    Alike,
    /// QEMU gives up where it would overwrite what is lost anyway, and here it
    /// is repaired.
    Repaired,
}

struct Case {
    name: &'static str,
    base: Base,
    damage: Damage,
    outcome: Outcome,
}

const fn case(name: &'static str, base: Base, damage: Damage) -> Case {
    Case {
        name,
        base,
        damage,
        outcome: Outcome::Alike,
    }
}

const fn better(name: &'static str, base: Base, damage: Damage) -> Case {
    Case {
        outcome: Outcome::Repaired,
        ..case(name, base, damage)
    }
}

/// Where the tools are, and the images.
struct Pair {
    mine: Place,
    other: Place,
    their_img: PathBuf,
}

impl Pair {
    /// `None` where there is nothing to compare with.
    fn new() -> Option<Pair> {
        let their_img = theirs()?;
        Some(Pair {
            mine: Place::new(ours()),
            other: Place::new(&their_img),
            their_img,
        })
    }

    /// Makes an image, and the file that it needs, in both places.
    fn make(&self, base: &Base) -> Vec<u8> {
        let place = &self.other;
        let _ = std::fs::remove_file(place.path("t"));
        let line = [
            "create",
            "-q",
            "-f",
            "qcow2",
            "-o",
            base.options,
            "t",
            base.size,
        ];
        assert!(place.run(&line).status.success(), "{base:?}");
        let write = |command: &str| {
            let mut io = Command::new(self.their_img.with_file_name("qemu-io"));
            io.args(["-f", "qcow2", "-c", command, "t"]);
            io.current_dir(place.path("t").parent().expect("a directory"));
            let output = io.output().expect("it starts");
            assert!(output.status.success(), "{command}: {output:?}");
        };
        for command in base.commands {
            write(command);
        }
        if base.snapshot {
            assert!(place.run(&["snapshot", "-c", "s", "t"]).status.success());
            write("write -P 4 0 16k");
        }
        if let Ok(data) = std::fs::read(place.path("d")) {
            self.mine.write("d", &data);
        }
        std::fs::read(place.path("t")).expect("made")
    }

    fn both(&self, line: &[&str]) -> (Output, Output) {
        (self.mine.run(line), self.other.run(line))
    }

    /// Checks the same damaged image with both, with and without repairs.
    fn check(&self, case: &Case, good: &[u8]) {
        let mut image = Stored(good.to_vec());
        (case.damage)(&mut image);
        let modes: [&[&str]; 4] = [
            &["check", "t"],
            &["check", "--output=json", "t"],
            &["check", "-r", "leaks", "t"],
            &["check", "-r", "all", "t"],
        ];
        for line in modes {
            for place in [&self.mine, &self.other] {
                place.write("t", &image.0);
            }
            let what = format!("{}: {line:?}", case.name);
            let (found, expected) = self.both(line);
            if case.outcome == Outcome::Repaired && line.contains(&"all") {
                assert_ne!(expected.status.code(), Some(0), "{what}: {expected:?}");
                assert_eq!(found.status.code(), Some(0), "{what}: {found:?}");
                let (found, expected) = (
                    self.mine.run(&["check", "t"]),
                    self.mine.run_by(&self.their_img, &["check", "t"]),
                );
                alike(&found, &expected, &what);
                assert_eq!(found.status.code(), Some(0), "{what}: {found:?}");
                continue;
            }
            alike(&found, &expected, &what);
            if expected.status.code() == Some(1) {
                // Who gave up may have stored some of it.
                continue;
            }
            // What is left is the same to both.
            let again = ["check", "--output=json", "t"];
            let (found, expected) = self.both(&again);
            alike(&found, &expected, &format!("{what}, and then"));
            let by_theirs = self.mine.run_by(&self.their_img, &again);
            alike(&found, &by_theirs, &format!("{what}, and then by QEMU"));
        }
    }
}

/// Both say and return the same.
fn alike(found: &Output, expected: &Output, what: &str) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    // Of QEMU's own and of no use: it gives up clusters twice.
    let said = text(&expected.stderr).replace(
        "qcow2_free_clusters failed: Resource temporarily unavailable\n",
        "",
    );
    assert_eq!(text(&found.stderr), said, "{what}");
    assert_eq!(text(&found.stdout), text(&expected.stdout), "{what}");
    assert_eq!(found.status.code(), expected.status.code(), "{what}");
}

/// Checks all cases.
fn compare(cases: &[Case]) {
    let Some(pair) = Pair::new() else {
        return;
    };
    let mut made: Option<(Base, Vec<u8>)> = None;
    for case in cases {
        let is_made = made.as_ref().is_some_and(|(base, _)| *base == case.base);
        if !is_made {
            made = Some((case.base, pair.make(&case.base)));
        }
        let (_, good) = made.as_ref().expect("made");
        pair.check(case, good);
    }
}

#[test]
fn counts_that_are_wrong_are_found_alike() {
    compare(&[
        case("nothing", USUAL, |_| {}),
        case("leaked cluster", USUAL, Stored::leak),
        case("two leaked clusters", USUAL, |image| {
            image.leak();
            image.leak();
        }),
        case("counted too often", USUAL, |image| {
            image.count(image.host(0), 3);
        }),
        case("not counted", USUAL, |image| image.count(image.host(10), 0)),
        case("counted once for two", USUAL, |image| {
            image.count(image.host(10), 1);
        }),
        case("leaked and not counted", USUAL, |image| {
            image.count(image.host(10), 0);
            image.leak();
        }),
        case("header not counted", USUAL, |image| image.count(0, 0)),
        case("used twice", USUAL, |image| {
            image.put(image.entry(1), image.get(image.entry(0)));
        }),
        case("marked as corrupt", USUAL, |image| image.put(72, 2)),
        case("marked as dirty", USUAL, |image| image.put(72, 1)),
        case("marked and wrong", USUAL, |image| {
            image.put(72, 2);
            image.count(image.host(10), 1);
        }),
        case("short file", USUAL, |image| {
            let length = image.0.len() - 6000;
            image.0.truncate(length);
        }),
        case("file ends in a cluster", USUAL, |image| {
            let length = image.0.len() - 1000;
            image.0.truncate(length);
        }),
        case("old, counted once for two", OLD, |image| {
            image.count(image.host(10), 1);
        }),
        case("old, not counted", OLD, |image| {
            image.count(image.host(0), 0);
        }),
        case("narrow, used twice", NARROW, |image| {
            image.put(image.entry(1), image.get(image.entry(0)));
        }),
        case("narrow, not counted", NARROW, |image| {
            image.put_bytes(image.block() + 1, &[0]);
        }),
    ]);
}

#[test]
fn flags_that_are_wrong_are_found_alike() {
    compare(&[
        case("may not be written in place", USUAL, |image| {
            image.change(image.entry(10), |entry| entry | COPIED);
        }),
        case("may be written in place", USUAL, |image| {
            image.change(image.entry(0), |entry| entry & !COPIED);
        }),
        case("table may be written in place", USUAL, |image| {
            image.change(image.l1(), |entry| entry & !COPIED);
        }),
        case("all of them", USUAL, |image| {
            image.change(image.l1(), |entry| entry & !COPIED);
            for number in 0..16 {
                image.change(image.entry(number), |entry| entry ^ COPIED);
            }
        }),
        case("flag and leak", USUAL, |image| {
            image.change(image.entry(0), |entry| entry & !COPIED);
            image.leak();
        }),
        case("compressed", USUAL, |image| {
            image.change(image.entry(128), |entry| entry | COPIED);
        }),
        case("data file", DATA_FILE, |image| {
            image.change(image.entry(1), |entry| entry & !COPIED);
        }),
        case("data file, first cluster", DATA_FILE, |image| {
            image.change(image.entry(0), |entry| entry & !COPIED);
        }),
    ]);
}

#[test]
fn entries_that_are_wrong_are_found_alike() {
    compare(&[
        case("unaligned data", USUAL, |image| {
            image.change(image.entry(0), |entry| entry + 512);
        }),
        case("unaligned zeroes", USUAL, |image| {
            image.change(image.entry(0), |entry| entry + 513);
        }),
        case("unaligned zeroes of a snapshot", USUAL, |image| {
            let l1 = image.get(image.snapshots());
            let l2 = image.get(l1) & OFFSET;
            image.change(l2, |entry| entry + 513);
        }),
        case("data beyond the end", USUAL, |image| {
            image.put(image.entry(0), 1 << 40 | COPIED);
        }),
        case("data far beyond the end", USUAL, |image| {
            image.put(image.entry(0), OFFSET & !0xfff | COPIED);
        }),
        case("data just beyond the end", USUAL, |image| {
            let end = image.clusters() << image.bits();
            image.put(image.entry(0), end | COPIED);
        }),
        case("reserved bits", USUAL, |image| {
            image.change(image.entry(0), |entry| entry | 1 << 60 | 4);
        }),
        case("table with reserved bits", USUAL, |image| {
            image.change(image.l1(), |entry| entry | 1 << 60 | 4);
        }),
        case("table beyond the end", USUAL, |image| {
            image.put(image.l1(), 1 << 40 | COPIED);
        }),
        case("unaligned table", USUAL, |image| {
            image.change(image.l1(), |entry| entry + 512);
        }),
        case("table in the first-level table", USUAL, |image| {
            image.put(image.l1(), image.l1() | COPIED);
        }),
        case("table in the header", USUAL, |image| {
            image.put(image.l1(), 512 | COPIED);
        }),
        case("data in a refcount block", PLAIN, |image| {
            image.put(image.entry(0), image.block() | COPIED);
        }),
        case("data in the header's cluster", PLAIN, |image| {
            image.put(image.entry(0), 512 | COPIED);
        }),
        case("compressed beyond the end", USUAL, |image| {
            image.change(image.entry(128), |entry| entry | 1 << 40);
        }),
        case("compressed everywhere", USUAL, |image| {
            image.change(image.entry(128), |entry| entry | 0x3f << 56);
        }),
        case("both data and zeroes", EXTENDED, |image| {
            image.change(image.entry(0) + 8, |bitmap| bitmap | 1 << 33);
        }),
        case("unaligned subclusters of zeroes", EXTENDED, |image| {
            image.change(image.entry(0), |entry| entry + 512);
            image.put(image.entry(0) + 8, 0xffff_ffff << 32);
        }),
        case("unaligned subclusters", EXTENDED, |image| {
            image.change(image.entry(0), |entry| entry + 512);
        }),
        case("subclusters nowhere", EXTENDED, |image| {
            image.put(image.entry(30), 0);
            image.put(image.entry(30) + 8, 3);
        }),
        case("compressed subclusters", EXTENDED, |image| {
            image.put(image.entry(32) + 8, 3);
        }),
        case("zero flag beside subclusters", EXTENDED, |image| {
            image.change(image.entry(0), |entry| entry | 1);
        }),
        case("compressed with a data file", DATA_FILE, |image| {
            image.put(image.entry(0), 1 << 62 | 5);
        }),
        case("unaligned in a data file", DATA_FILE, |image| {
            image.change(image.entry(0), |entry| entry + 512);
        }),
        case("elsewhere in a data file", DATA_FILE, |image| {
            image.change(image.entry(0), |entry| entry + 4096);
        }),
    ]);
}

#[test]
fn lost_counts_are_made_anew_alike() {
    compare(&[
        case("lost block", USUAL, |image| image.put(image.table(), 0)),
        case("block at the end of the file", USUAL, |image| {
            let end = (image.clusters() + 15) << image.bits();
            image.put(image.table(), end);
        }),
        case("another block beyond the end", USUAL, |image| {
            image.put(image.table() + 8, 1 << 20);
        }),
        case("another block far beyond the end", USUAL, |image| {
            image.put(image.table() + 8, 1 << 62);
        }),
        case("another block nowhere", USUAL, |image| {
            image.put(image.table() + 8, 0x7fff_ffff_ffff_f000);
        }),
        case("another block behind everything", USUAL, |image| {
            image.put(image.table() + 8, 0xffff_ffff_ffff_f000);
        }),
        case("block in the first-level table", USUAL, |image| {
            image.put(image.table(), image.l1());
        }),
        case("block used twice", USUAL, |image| {
            image.put(image.table() + 8, image.block());
        }),
        case("table beyond the end", USUAL, |image| {
            image.put(48, 1 << 30)
        }),
        case("table in the header", PLAIN, |image| image.put(48, 0)),
        case("everything counted as free", PLAIN, |image| {
            let zeroes = vec![0; image.cluster_size() as usize];
            image.put_bytes(image.block(), &zeroes);
        }),
        better("block with reserved bits", USUAL, |image| {
            image.put(image.table(), image.block() | 4);
        }),
        better("unaligned block", USUAL, |image| {
            image.put(image.table(), image.block() + 512);
        }),
        case("lost block of a narrow image", NARROW, |image| {
            image.put(image.table(), 0);
        }),
        case("nothing in small clusters", SMALL, |_| {}),
        case("lost block of small clusters", SMALL, |image| {
            image.put(image.table() + 8, 0);
        }),
        case("lost table of small clusters", SMALL, |image| {
            let zeroes = vec![0; 512];
            image.put_bytes(image.table(), &zeroes);
        }),
        case("table of small clusters elsewhere", SMALL, |image| {
            image.put(48, 1 << 30);
        }),
    ]);
}

#[test]
fn tables_of_snapshots_are_found_alike() {
    compare(&[
        case("unaligned first-level table", USUAL, |image| {
            image.change(image.snapshots(), |offset| offset + 512);
        }),
        case("unaligned table", USUAL, |image| {
            image.put(64, image.snapshots() + 512);
        }),
        case("table beyond the end", USUAL, |image| {
            image.put(64, 1 << 30)
        }),
        case("says too little", USUAL, |image| {
            image.put32(image.snapshots() + 36, 8);
        }),
        case("old, says too little", OLD, |image| {
            image.put32(image.snapshots() + 36, 8);
        }),
        case("too much extra data", USUAL, |image| {
            image.put32(image.snapshots() + 36, 2000);
        }),
        case("another snapshot", USUAL, |image| image.put32(60, 2)),
        case("snapshots and a data file", DATA_FILE, |image| {
            image.put32(60, 1);
            let end = image.clusters() << image.bits();
            image.put(64, end);
            image.put(end + 4088, 0);
        }),
    ]);
}

#[test]
fn too_many_snapshots_are_found_alike() {
    let Some(pair) = Pair::new() else {
        return;
    };
    let good = pair.make(&USUAL);
    let case = case("too many snapshots", USUAL, |image| {
        // Complete, and with nothing in them.
        let count: u64 = 65_536 + 3;
        let start = image.clusters() << image.bits();
        for number in 0..count {
            image.put32(start + number * 64 + 36, 16);
        }
        image.put(start + count * 64 - 8, 0);
        image.put(64, start);
        image.put32(60, count as u32);
    });
    let mut image = Stored(good);
    (case.damage)(&mut image);
    for line in [&["check", "t"][..], &["check", "-r", "leaks", "t"]] {
        for place in [&pair.mine, &pair.other] {
            place.write("t", &image.0);
        }
        let (found, expected) = pair.both(line);
        alike(&found, &expected, &format!("{line:?}"));
    }
}

#[test]
fn bitmaps_are_counted_alike() {
    let Some(pair) = Pair::new() else {
        return;
    };
    pair.make(&PLAIN);
    for name in ["b0", "b1"] {
        let made = pair.other.run(&["bitmap", "--add", "t", name]);
        assert!(made.status.success(), "{made:?}");
    }
    let good = std::fs::read(pair.other.path("t")).expect("made");
    let damages: [(&str, Damage); 3] = [
        ("bits beyond the end", |image| {
            let table = image.get(image.directory());
            image.put(table, 1 << 30);
        }),
        ("table beyond the end", |image| {
            image.put(image.directory(), 1 << 30);
        }),
        ("leak", Stored::leak),
    ];
    for (name, damage) in damages {
        let mut image = Stored(good.clone());
        damage(&mut image);
        for line in [&["check", "t"][..], &["check", "--output=json", "t"]] {
            for place in [&pair.mine, &pair.other] {
                place.write("t", &image.0);
            }
            let (found, expected) = pair.both(line);
            alike(&found, &expected, &format!("{name}: {line:?}"));
        }
    }
}

#[test]
fn quiet_checks_say_what_is_wrong() {
    let Some(pair) = Pair::new() else {
        return;
    };
    let mut image = Stored(pair.make(&USUAL));
    image.leak();
    for line in [
        &["check", "-q", "t"][..],
        &["check", "-q", "-r", "leaks", "t"],
        &["check", "-U", "t"],
        &["check", "--output=json", "-r", "all", "t"],
        &["check", "--output=json", "-r", "leaks", "-q", "t"],
    ] {
        for place in [&pair.mine, &pair.other] {
            place.write("t", &image.0);
        }
        let (found, expected) = pair.both(line);
        alike(&found, &expected, &format!("{line:?}"));
    }
}

#[test]
fn small_changes_anywhere_are_found_alike() {
    let Some(pair) = Pair::new() else {
        return;
    };
    let good = pair.make(&USUAL);
    let image = Stored(good.clone());
    let places = [image.l1(), image.table(), image.block(), image.l2()];
    let mut random = Random(7);
    for round in 0..40 {
        let mut image = Stored(good.clone());
        // Of the tables only the beginning means something.
        let place = places[random.next(4) as usize];
        let at = place + random.next(if place == image.l2() { 128 } else { 4 }) * 8;
        let bit = match place == image.table() {
            // Lost blocks have cases of their own.
            true => continue,
            false => random.next(64),
        };
        image.change(at, |word| word ^ 1 << bit);
        for line in [&["check", "t"][..], &["check", "-r", "leaks", "t"]] {
            for place in [&pair.mine, &pair.other] {
                place.write("t", &image.0);
            }
            let (found, expected) = pair.both(line);
            let what = format!("round {round}, bit {bit} at {at:#x}: {line:?}");
            alike(&found, &expected, &what);
        }
    }
}

#[test]
fn files_that_are_too_long_are_refused_alike() {
    let Some(pair) = Pair::new() else {
        return;
    };
    let base = Base {
        options: "cluster_size=512",
        ..PLAIN
    };
    let good = pair.make(&base);
    for line in [&["check", "t"][..], &["check", "-r", "all", "t"]] {
        for place in [&pair.mine, &pair.other] {
            place.write("t", &good);
            let file = std::fs::File::options().write(true).open(place.path("t"));
            let file = file.expect("opened");
            if file.set_len((1 << 31) * 512 + 512).is_err() {
                println!("SKIPPED: files cannot be as long as that");
                return;
            }
        }
        let (found, expected) = pair.both(line);
        alike(&found, &expected, &format!("{line:?}"));
    }
}
