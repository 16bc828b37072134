//! Random operations of all kinds, by us and by QEMU in turn on one image,
//! compared with plain bytes.

use std::path::{Path, PathBuf};

use block_gs::{
    BitmapOptions, BqlGuard, Node, NodeOptions, Perm, ReopenOptions, SnapshotInfo, SnapshotKey,
};
use block_io::{Preallocation, Repairs, Request, WriteFlags};
use block_qcow2::Qcow2Options;

use crate::support::{
    READ_WRITE, Random, Tool, backend, close, discard, flush, in_layer, open_with, pattern,
    qemu_reads, read, turn, write, write_compressed, zero,
};

/// A kind of image.
#[derive(Clone, Copy)]
struct Kind {
    /// As `qemu-img create -o` has them.
    options: &'static str,
    cluster: u64,
    size: u64,
    /// How long the raw backing image is; 0 for none.
    backing: u64,
    /// The data is in another file; and that is raw.
    data: Option<bool>,
    compressed: bool,
    snapshots: bool,
    resizes: bool,
    bitmaps: bool,
    old: bool,
}

const PLAIN: Kind = Kind {
    options: "",
    cluster: 65536,
    size: 2 << 20,
    backing: 0,
    data: None,
    compressed: true,
    snapshots: true,
    resizes: true,
    bitmaps: false,
    old: false,
};

struct Session<'s> {
    kind: Kind,
    tools: &'s (Tool, Tool),
    path: PathBuf,
    model: Vec<u8>,
    snapshots: Vec<(String, Vec<u8>)>,
    bitmaps: Vec<String>,
    random: Random,
    number: u64,
    /// What was done, to be told when something is wrong.
    log: Vec<String>,
}

impl Session<'_> {
    fn text(&self) -> &str {
        self.path.to_str().expect("text")
    }

    fn range(&mut self) -> (u64, u64) {
        let size = self.model.len() as u64;
        let offset = self.random.next(size / 512) * 512;
        let most = [512, 5000, self.kind.cluster, 4 * self.kind.cluster, 300_000];
        let most = most[self.random.next(5) as usize];
        let bytes = 512 + self.random.next(most) / 512 * 512;
        (offset, bytes.min(size - offset))
    }

    /// Whole clusters somewhere; the last one may be cut off by the end.
    fn clusters(&mut self) -> (u64, u64) {
        let cluster = self.kind.cluster;
        let size = self.model.len() as u64;
        let first = self.random.next(size.div_ceil(cluster));
        let end = (first + 1 + self.random.next(4)) * cluster;
        (first * cluster, end.min(size) - first * cluster)
    }

    fn fill(&mut self, (offset, bytes): (u64, u64), data: &[u8]) {
        self.model[offset as usize..(offset + bytes) as usize].copy_from_slice(data);
    }

    fn name(&mut self, letter: &str) -> String {
        self.number += 1;
        format!("{letter}{}", self.number)
    }

    fn new_size(&mut self) -> u64 {
        let least = self.kind.backing.next_multiple_of(512).max(512);
        least + self.random.next((self.kind.size * 3 / 2 - least) / 512) * 512
    }

    fn may_resize(&self) -> bool {
        self.kind.resizes && (!self.kind.old || self.snapshots.is_empty())
    }

    /// What a discard of whole clusters leaves.
    fn gives_up(&mut self, (offset, bytes): (u64, u64)) {
        if !(self.kind.old && self.kind.backing > 0) {
            self.fill((offset, bytes), &vec![0; bytes as usize]);
        }
    }

    /// A few operations by QEMU.
    fn by_qemu(&mut self) {
        let mut commands = Vec::new();
        for _ in 0..8 {
            let place = self.range();
            let (offset, bytes) = place;
            let value = self.random.next(250) as u8 + 1;
            match self.random.next(9) {
                0..=3 => {
                    commands.push(format!("write -P {value} {offset} {bytes}"));
                    self.fill(place, &vec![value; bytes as usize]);
                }
                4 | 5 => {
                    let unmap = ["", "-u "][self.random.next(2) as usize];
                    commands.push(format!("write -z {unmap}{offset} {bytes}"));
                    self.fill(place, &vec![0; bytes as usize]);
                }
                6 => {
                    let place = self.clusters();
                    commands.push(format!("discard {} {}", place.0, place.1));
                    self.gives_up(place);
                }
                _ => commands.push("flush".to_owned()),
            }
        }
        self.log.extend(commands.iter().cloned());
        let mut arguments = vec!["-f", "qcow2"];
        arguments.extend(commands.iter().flat_map(|command| ["-c", command]));
        arguments.push(self.path.to_str().expect("text"));
        self.tools.1.succeed(&arguments);
        for _ in 0..2 {
            self.change_by_qemu();
        }
    }

    fn qemu(&mut self, arguments: &[&str]) {
        self.log.push(format!("qemu-img {arguments:?}"));
        self.tools.0.succeed(arguments);
    }

    fn change_by_qemu(&mut self) {
        let text = self.text().to_owned();
        match self.random.next(8) {
            6 if self.kind.compressed => {
                let (offset, bytes) = self.clusters();
                let place = (offset, bytes.min(self.kind.cluster));
                let command = format!("write -c -P 77 {offset} {}", place.1);
                // QEMU refuses where there is data that nothing else uses.
                let written = self.tools.1.run(["-f", "qcow2", "-c", &command, &text]);
                if written.status.success() {
                    self.log.push(command);
                    self.fill(place, &vec![77; place.1 as usize]);
                }
            }
            0 if self.kind.snapshots => {
                let name = self.name("s");
                self.qemu(&["snapshot", "-q", "-c", &name, &text]);
                self.snapshots.push((name, self.model.clone()));
            }
            1 if !self.snapshots.is_empty() && self.bitmaps.is_empty() => {
                let (name, then) = self.snapshots[0].clone();
                self.qemu(&["snapshot", "-q", "-a", &name, &text]);
                self.model = then;
            }
            2 if !self.snapshots.is_empty() => {
                let number = self.random.next(self.snapshots.len() as u64) as usize;
                let (name, _) = self.snapshots.remove(number);
                self.qemu(&["snapshot", "-q", "-d", &name, &text]);
            }
            3 if self.may_resize() => {
                let mut size = self.new_size();
                if size < self.model.len() as u64 {
                    // QEMU leaves what is cut off in the last cluster, and
                    // shows it when the image is longer again.
                    size = size.next_multiple_of(self.kind.cluster);
                }
                let length = size.to_string();
                self.qemu(&["resize", "-q", "-f", "qcow2", "--shrink", &text, &length]);
                self.model.resize(size as usize, 0);
            }
            4 if self.kind.bitmaps => {
                let name = self.name("b");
                self.qemu(&["bitmap", "-f", "qcow2", "--add", &text, &name]);
                self.bitmaps.push(name);
            }
            5 if !self.bitmaps.is_empty() => {
                let name = self.bitmaps.remove(0);
                self.qemu(&["bitmap", "-f", "qcow2", "--remove", &text, &name]);
            }
            _ => {}
        }
    }

    fn options(&mut self) -> Qcow2Options {
        let random = &mut self.random;
        let some = |random: &mut Random| [None, Some(true), Some(false)][random.next(3) as usize];
        Qcow2Options {
            l2_cache_size: [None, Some(1024), Some(100_000)][random.next(3) as usize],
            l2_cache_entry_size: [None, Some(512)][random.next(2) as usize],
            refcount_cache_size: [None, Some(1)][random.next(2) as usize],
            pass_discard_request: some(random),
            pass_discard_snapshot: some(random),
            discard_no_unref: match self.kind.old {
                true => None,
                false => some(random),
            },
            overlap_check: [None, Some("all".to_owned()), Some("none".to_owned())]
                [random.next(3) as usize]
                .clone(),
            ..Default::default()
        }
    }

    fn by_us(&mut self, bql: &mut BqlGuard) {
        let options = self.options();
        self.log.push(format!("opened with {options:?}"));
        let path = self.path.clone();
        let node = open_with(bql, &path, false, options).expect("opened");
        for _ in 0..25 {
            match self.random.next(14) {
                12 => self.change(bql, &node),
                13 => self.hand_over(bql, &node),
                kind => self.request(bql, &node, kind),
            }
        }
        close(bql, node);
    }

    fn request(&mut self, bql: &mut BqlGuard, node: &Node, kind: u64) {
        let disk = backend(bql, node, READ_WRITE).expect("nobody objects");
        let (mut offset, mut bytes) = self.range();
        if self.random.next(3) == 0 && bytes > 1000 {
            offset += 100;
            bytes -= 333;
        }
        let place = (offset, bytes);
        match kind {
            0..=4 => {
                self.log.push(format!("write {offset} {bytes}"));
                let data = pattern(bytes as usize, self.random.next(1 << 30));
                write(bql, &disk, offset, &data).expect("written");
                self.fill(place, &data);
            }
            5 | 6 => {
                let flags = [WriteFlags::empty(), WriteFlags::MAY_UNMAP];
                let flags = flags[self.random.next(2) as usize];
                self.log.push(format!("zero {offset} {bytes} {flags:?}"));
                zero(bql, &disk, offset, bytes, flags).expect("zeroed");
                self.fill(place, &vec![0; bytes as usize]);
            }
            7 => {
                let place = self.clusters();
                self.log.push(format!("discard {} {}", place.0, place.1));
                discard(bql, &disk, place.0, place.1).expect("given up");
                self.gives_up(place);
            }
            8 if self.kind.compressed => {
                let place = self.clusters();
                self.log.push(format!("compressed {} {}", place.0, place.1));
                let data: Vec<u8> = (0..place.1)
                    .map(|at| (at / 100) as u8 ^ kind as u8)
                    .collect();
                write_compressed(bql, &disk, place.0, &data).expect("written");
                self.fill(place, &data);
            }
            9 => flush(bql, &disk).expect("flushed"),
            _ => {
                let seen = read(bql, &disk, offset, bytes as usize).expect("read");
                let same = seen == self.model[offset as usize..(offset + bytes) as usize];
                assert!(same, "{offset}+{bytes}: {:#?}", self.log);
            }
        }
    }

    fn change(&mut self, bql: &mut BqlGuard, node: &Node) {
        let section = |bql| node.drain(bql);
        match self.random.next(8) {
            0 if self.kind.snapshots => {
                let name = self.name("s");
                self.log.push(format!("snapshot {name}"));
                let mut info = SnapshotInfo {
                    name: name.clone(),
                    ..Default::default()
                };
                section(bql).create_snapshot(&mut info).expect("made");
                self.snapshots.push((name, self.model.clone()));
            }
            1 if !self.snapshots.is_empty() => {
                let (name, then) = self.snapshots[0].clone();
                self.log.push(format!("go to {name}"));
                if !self.bitmaps.is_empty() {
                    let refused = section(bql).goto_snapshot(&name).expect_err("bitmaps");
                    let text = "Device has active dirty bitmaps";
                    assert_eq!(refused.to_string(), text);
                    return;
                }
                section(bql).goto_snapshot(&name).expect("gone to");
                self.model = then;
            }
            2 if !self.snapshots.is_empty() => {
                let number = self.random.next(self.snapshots.len() as u64) as usize;
                let (name, _) = self.snapshots.remove(number);
                self.log.push(format!("delete {name}"));
                let which = SnapshotKey {
                    id: None,
                    name: Some(&name),
                };
                section(bql).delete_snapshot(which).expect("deleted");
            }
            3 if self.may_resize() => {
                let size = self.new_size();
                self.log.push(format!("resize {size}"));
                let disk = backend(bql, node, READ_WRITE | Perm::RESIZE).expect("a device");
                bql.block_on(disk.root().truncate(size, true, Preallocation::Off))
                    .expect("resized");
                self.model.resize(size as usize, 0);
            }
            4 if self.kind.bitmaps => {
                let name = self.name("b");
                self.log.push(format!("bitmap {name}"));
                let options = BitmapOptions {
                    persistent: true,
                    ..Default::default()
                };
                section(bql).add_bitmap(&name, options).expect("added");
                self.bitmaps.push(name);
            }
            5 if !self.bitmaps.is_empty() => {
                let name = self.bitmaps.remove(0);
                self.log.push(format!("remove bitmap {name}"));
                let bitmap = node.find_bitmap(bql, &name).expect("it is kept");
                bitmap.remove(bql).expect("removed");
            }
            _ => {
                self.log.push("check".to_owned());
                let check = async |request: Request<'_>| {
                    request.check(Repairs::LEAKS | Repairs::ERRORS).await
                };
                let found = section(bql).io(check).expect("looked at");
                let counts = (
                    found.corruptions + found.corruptions_fixed,
                    found.leaks + found.leaks_fixed,
                    found.check_errors,
                );
                assert_eq!(counts, (0, 0, 0), "{:#?}", self.log);
            }
        }
    }

    /// Another process has the image for a while, or nobody writes to it.
    fn hand_over(&mut self, bql: &mut BqlGuard, node: &Node) {
        if self.random.next(2) == 0 {
            self.log.push("reopened".to_owned());
            for read_only in [true, false] {
                let options = NodeOptions {
                    read_only,
                    unmap: true,
                    ..Default::default()
                };
                let options = ReopenOptions::new(options).settings(self.options());
                node.drain(bql).reopen(options).expect("reopened");
                if read_only {
                    self.compare("while it is read-only");
                }
            }
            return;
        }
        self.log.push("inactive".to_owned());
        // Devices that are gone still have their permissions.
        turn(bql);
        if let Err(error) = node.inactivate(bql) {
            panic!("{error}: {:#?}", self.log);
        }
        self.compare("while it is inactive");
        if self.random.next(2) == 0 {
            self.by_qemu();
        }
        node.activate(bql).expect("taken back");
        let disk = backend(bql, node, READ_WRITE).expect("nobody objects");
        let seen = read(bql, &disk, 0, self.model.len()).expect("read");
        assert!(seen == self.model, "taken back: {:#?}", self.log);
    }

    /// QEMU finds the image right.
    fn compare(&self, when: &str) {
        let check = self.tools.0.run(["check", "-U", self.text()]);
        assert!(
            check.status.success(),
            "{when}: {}{}{:#?}",
            String::from_utf8_lossy(&check.stdout),
            String::from_utf8_lossy(&check.stderr),
            self.log
        );
        let seen = qemu_reads(&self.tools.0, &self.path);
        assert_eq!(seen.len(), self.model.len(), "{when}: {:#?}", self.log);
        let differs = seen
            .iter()
            .zip(&self.model)
            .position(|(one, other)| one != other);
        assert_eq!(differs, None, "{when}: {:#?}", self.log);
        if self.kind.data == Some(true) {
            let data = std::fs::read(self.path.with_extension("data")).expect("read");
            let same = data.starts_with(&self.model);
            assert!(same, "{when}: raw data: {:#?}", self.log);
        }
    }

    /// Every snapshot has what it had.
    fn look_at_snapshots(&mut self) {
        let text = self.text().to_owned();
        for name in std::mem::take(&mut self.bitmaps) {
            self.qemu(&["bitmap", "-f", "qcow2", "--remove", &text, &name]);
        }
        for (name, then) in self.snapshots.clone() {
            let text = self.text().to_owned();
            self.qemu(&["snapshot", "-q", "-a", &name, &text]);
            assert!(
                qemu_reads(&self.tools.0, &self.path) == then,
                "{name}: {:#?}",
                self.log
            );
        }
    }
}

fn take_turns(kind: Kind, seed: u64) {
    let (Some(qemu_img), Some(qemu_io)) = (Tool::find("qemu-img"), Tool::find("qemu-io")) else {
        return;
    };
    let more = std::env::var("QUIESCE_CRASH_ROUNDS");
    let more: u64 = more.map_or(0, |number| number.parse().expect("a number"));
    let tools = (qemu_img, qemu_io);
    for round in 0..=more {
        in_layer(|bql, directory| {
            turns(bql, directory.path(), &tools, kind, seed + 1000 * round);
        });
    }
}

fn turns(bql: &mut BqlGuard, directory: &Path, tools: &(Tool, Tool), kind: Kind, seed: u64) {
    let path = directory.join("image");
    let text = path.to_str().expect("text").to_owned();
    let mut options = format!("cluster_size={}", kind.cluster);
    if !kind.options.is_empty() {
        options += &format!(",{}", kind.options);
    }
    if let Some(raw) = kind.data {
        let data = path.with_extension("data");
        options += &format!(",data_file={}", data.to_str().expect("text"));
        options += if raw { ",data_file_raw=on" } else { "" };
    }
    let below = pattern(kind.backing as usize, seed);
    let mut arguments = vec!["create", "-q", "-f", "qcow2", "-o", &options];
    if kind.backing > 0 {
        std::fs::write(directory.join("base"), &below).expect("written");
        arguments.extend(["-b", "base", "-F", "raw"]);
    }
    let length = kind.size.to_string();
    arguments.extend([text.as_str(), &length]);
    tools.0.succeed(&arguments);
    let mut model = below;
    model.resize(kind.size as usize, 0);
    let mut session = Session {
        kind,
        tools,
        path,
        model,
        snapshots: Vec::new(),
        bitmaps: Vec::new(),
        random: Random(seed),
        number: 0,
        log: vec![format!("seed {seed}")],
    };
    for _ in 0..3 {
        session.by_us(bql);
        session.compare("after us");
        session.by_qemu();
        session.compare("after QEMU");
    }
    session.look_at_snapshots();
}

#[test]
fn common_images() {
    take_turns(PLAIN, 1);
    take_turns(
        Kind {
            bitmaps: true,
            resizes: false,
            ..PLAIN
        },
        2,
    );
}

#[test]
fn small_clusters() {
    let kind = Kind {
        cluster: 512,
        ..PLAIN
    };
    take_turns(kind, 3);
}

#[test]
fn over_a_backing_image() {
    let kind = Kind {
        cluster: 4096,
        backing: 1_000_300,
        ..PLAIN
    };
    take_turns(kind, 4);
    let kind = Kind {
        options: "extended_l2=on",
        cluster: 16384,
        ..kind
    };
    take_turns(kind, 5);
}

#[test]
fn in_the_old_format() {
    let kind = Kind {
        options: "compat=0.10",
        cluster: 4096,
        old: true,
        ..PLAIN
    };
    take_turns(kind, 6);
    let kind = Kind {
        backing: 700_000,
        resizes: false,
        ..kind
    };
    take_turns(kind, 7);
}

#[test]
fn with_subclusters() {
    let kind = Kind {
        options: "extended_l2=on",
        ..PLAIN
    };
    take_turns(kind, 8);
}

#[test]
fn with_a_data_file() {
    for (raw, seed) in [(false, 9), (true, 10)] {
        let kind = Kind {
            cluster: 4096,
            data: Some(raw),
            compressed: false,
            snapshots: false,
            ..PLAIN
        };
        take_turns(kind, seed);
    }
}

#[test]
fn with_narrow_and_wide_counts() {
    let kind = Kind {
        options: "refcount_bits=1",
        cluster: 4096,
        compressed: false,
        snapshots: false,
        ..PLAIN
    };
    take_turns(kind, 11);
    let kind = Kind {
        options: "refcount_bits=64,compression_type=zstd",
        compressed: true,
        snapshots: true,
        ..kind
    };
    take_turns(kind, 12);
}
