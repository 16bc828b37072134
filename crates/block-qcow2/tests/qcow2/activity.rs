//! An image that changes hands, or the right to write: what is kept with it is
//! stored before, and looked at anew after.

use std::path::Path;
use std::sync::{Arc, Mutex};

use block_drivers::{Chance, File, Inject, Injector, RequestKind};
use block_gs::{
    Backend, BqlGuard, GraphError, IoError, IoThread, Node, NodeOptions, Perm, ReopenOptions,
    SnapshotInfo,
};
use block_io::{BackendEvent, Buffer, ImageCorrupted, Request, StatusFlags, WriteFlags};
use block_qcow2::{CreateOptions, Qcow2, Qcow2Image, Qcow2Options};

use crate::support::{
    COPIED, READ_WRITE, Random, Stored, Tool, assert_sound, assert_sound_and_reads, at_a_path,
    attached, backend, beside_qemu_img, close, create, create_written, disk, flush, guest,
    guest_with, open, pattern, read, text, turn, write, zero,
};

/// How many bytes are dirty, whether it holds, and whether it must not change.
fn dirty(bql: &BqlGuard, node: &Node, name: &str) -> Option<(u64, bool, bool)> {
    let view = node.bitmaps(bql).find(|view| view.name() == name)?;
    let holds = !view.is_inconsistent();
    Some((view.info().count, holds, view.is_read_only()))
}

/// The bitmaps that QEMU finds in an image, which may be in use, and whether
/// each is marked as in use itself.
fn marks(qemu_img: &Tool, path: &Path) -> Vec<(String, bool)> {
    let json = qemu_img.succeed(["info", "-U", "--output=json", text(path)]);
    let Some(at) = json.find("\"bitmaps\": [") else {
        return Vec::new();
    };
    let all = json[at..].split('}').filter_map(|entry| {
        let (_, name) = entry.split_once("\"name\": \"")?;
        let (name, _) = name.split_once('"')?;
        Some((name.to_owned(), entry.contains("in-use")))
    });
    let mut all: Vec<_> = all.collect();
    all.sort();
    all
}

#[track_caller]
fn assert_marks(qemu_img: &Tool, path: &Path, expected: &[(&str, bool)]) {
    let marks = marks(qemu_img, path);
    let marks: Vec<_> = marks.iter().map(|(name, on)| (&**name, *on)).collect();
    assert_eq!(marks, expected);
}

/// The bitmaps of [`with_bitmaps`] hold what is stored of them: nobody has the
/// image.
const STORED: &[(&str, bool)] = &[("b", false), ("broken", true)];

/// They do not: somebody notes writes.
const IN_USE: &[(&str, bool)] = &[("b", true), ("broken", true)];

/// Adds a bitmap that notes writes by 64 KiB.
fn add_bitmap(qemu_img: &Tool, path: &Path, name: &str) {
    qemu_img.succeed(["bitmap", "--add", "-g", "64k", text(path), name]);
}

/// Reopens a node for reading only, or for writing.
fn to(bql: &mut BqlGuard, node: &Node, only: bool) -> Result<(), GraphError> {
    let options = ReopenOptions::new(read_only(only));
    node.drain(bql).reopen(options)
}

fn read_only(read_only: bool) -> NodeOptions {
    NodeOptions {
        read_only,
        ..NodeOptions::default()
    }
}

/// Opens an image with these options over a file that can be written.
fn open_over(bql: &mut BqlGuard, path: &Path, options: NodeOptions) -> Node {
    let file = File::new(path).open(bql, "").expect("opened");
    let image = Qcow2Image::read(bql, &file).expect("an image");
    image.options(options).open(bql, "").expect("opened")
}

/// A guest comes, writes 64 KiB, and goes.
fn visit(bql: &mut BqlGuard, node: &Node, offset: u64) {
    let disk = disk(bql, node);
    write(bql, &disk, offset, &[1; 65536]).expect("written");
    close(bql, disk);
}

/// An image of 16 MiB with a bitmap that notes writes, `b`, and one that was
/// left in use, `broken`.
fn with_bitmaps(qemu_img: &Tool, path: &Path) {
    qemu_img.succeed(["create", "-q", "-f", "qcow2", text(path), "16M"]);
    add_bitmap(qemu_img, path, "broken");
    Stored::damage(path, |image| {
        // The lowest byte of its flags.
        let flags = image.bitmap("broken") + 15;
        let now = image.0[flags as usize];
        image.put_bytes(flags, &[now | 1]);
    });
    add_bitmap(qemu_img, path, "b");
    assert_marks(qemu_img, path, STORED);
}

/// Opens an image over a file that can be told to fail.
fn open_injected(bql: &mut BqlGuard, path: &Path, injector: &Injector) -> Node {
    let file = File::new(path).open(bql, "").expect("opened");
    let file = Inject::over(&file)
        .injector(injector)
        .open(bql, "")
        .expect("opened");
    let image = Qcow2Image::read(bql, &file).expect("an image");
    image.open(bql, "").expect("opened")
}

#[test]
fn bitmaps_follow_the_right_to_write() {
    beside_qemu_img(|bql, path, qemu_img| {
        with_bitmaps(qemu_img, path);
        let node = open_over(bql, path, read_only(true));
        assert_marks(qemu_img, path, STORED);
        assert_eq!(dirty(bql, &node, "b"), Some((0, true, true)));
        for round in 1..4u64 {
            to(bql, &node, false).expect("for writing");
            assert_marks(qemu_img, path, IN_USE);
            assert_eq!(dirty(bql, &node, "broken"), Some((0, false, false)));
            visit(bql, &node, round << 20);
            let count = round * 65536;
            assert_eq!(dirty(bql, &node, "b"), Some((count, true, false)));
            to(bql, &node, true).expect("for reading");
            assert_marks(qemu_img, path, STORED);
            assert_eq!(dirty(bql, &node, "b"), Some((count, true, true)));
            qemu_img.succeed(["check", "-q", "-U", text(path)]);
        }
        close(bql, node);
        let again = open(bql, path, true).expect("opened");
        assert_eq!(dirty(bql, &again, "b"), Some((3 * 65536, true, true)));
        assert_eq!(dirty(bql, &again, "broken"), Some((0, false, true)));
    });
}

#[test]
fn bitmaps_that_were_stored_in_vain_are_marked_before_the_next_write() {
    type Change = fn(&mut BqlGuard, &Backend) -> Result<(), IoError>;
    let zeroes: Change = |bql, disk| zero(bql, disk, 1 << 20, 65536, WriteFlags::empty());
    let elsewhere: Change = |bql, disk| write(bql, disk, 4 << 20, &[1; 512]);
    let in_place: Change = |bql, disk| write(bql, disk, 0, &[2; 512]);
    let all = (0..3).flat_map(|how| [zeroes, elsewhere, in_place].map(|first| (how, first)));
    beside_qemu_img(|bql, path, qemu_img| {
        for (how, first) in all {
            with_bitmaps(qemu_img, path);
            let (node, disk) = attached(bql, path);
            write(bql, &disk, 0, &[1; 65536]).expect("written");
            match how {
                // Somebody writes, so it cannot be opened for reading only.
                0 => {
                    to(bql, &node, true).expect_err("it is written").errno();
                }
                1 => node.store_bitmaps(bql).expect("stored"),
                // A backend that no guest uses keeps it from being given away.
                _ => {
                    node.inactivate(bql).expect_err("it is written").errno();
                    assert_marks(qemu_img, path, IN_USE);
                }
            }
            assert_eq!(dirty(bql, &node, "b"), Some((65536, true, false)));
            first(bql, &disk).expect("written");
            assert_marks(qemu_img, path, IN_USE);
            for change in [zeroes, elsewhere] {
                change(bql, &disk).expect("written");
            }
            assert_marks(qemu_img, path, IN_USE);
            assert_eq!(dirty(bql, &node, "b"), Some((3 * 65536, true, false)));
            close(bql, (disk, node));
            assert_sound(qemu_img, path);
            let again = open(bql, path, true).expect("opened");
            assert_eq!(dirty(bql, &again, "b"), Some((3 * 65536, true, true)));
            close(bql, again);
        }
    });
}

#[test]
fn bitmaps_that_cannot_be_stored_stay_and_hold_no_more_in_the_image() {
    beside_qemu_img(|bql, path, qemu_img| {
        with_bitmaps(qemu_img, path);
        let injector = Injector::new(1);
        let node = open_injected(bql, path, &injector);
        visit(bql, &node, 0);
        for kind in [RequestKind::Write, RequestKind::Flush] {
            injector.set_errors(kind, Chance::ALWAYS, 28);
            let refused = node.inactivate(bql).expect_err("no space");
            let said = refused.to_string();
            assert!(said.contains("No space left on device"), "{said}");
            to(bql, &node, true).expect_err("no space").errno();
            injector.stop();
            assert!(!node.view(bql).is_inactive());
            assert_eq!(dirty(bql, &node, "b"), Some((65536, true, false)));
        }
        visit(bql, &node, 1 << 20);
        assert_marks(qemu_img, path, IN_USE);
        // The last try fails, too: nobody is told, and nothing that does not
        // hold looks as if it did.
        injector.set_errors(RequestKind::Write, Chance::ALWAYS, 28);
        close(bql, node);
        assert_marks(qemu_img, path, IN_USE);
        let node = open(bql, path, false).expect("opened");
        assert_eq!(dirty(bql, &node, "b"), Some((0, false, false)));
    });
}

#[test]
fn bitmaps_stay_in_an_image_that_cannot_be_opened_because_of_one() {
    beside_qemu_img(|bql, path, qemu_img| {
        qemu_img.succeed(["create", "-q", "-f", "qcow2", text(path), "16M"]);
        for name in ["first", "second", "third"] {
            add_bitmap(qemu_img, path, name);
        }
        let good = Stored::read(path);
        let table = good.get(good.bitmap("second"));
        let mut damaged = good.clone();
        // A word that says what cannot be.
        damaged.put_bytes(table + 7, &[2]);
        damaged.write(path);
        for _ in 0..2 {
            let refused = open(bql, path, false).expect_err("one cannot be read");
            assert!(refused.to_string().contains("bitmap"), "{refused}");
            turn(bql);
        }
        assert!(Stored::read(path) == damaged, "nobody has written to it");
        Stored::damage(path, |image| image.put_bytes(table + 7, &[0]));
        assert_marks(
            qemu_img,
            path,
            &[("first", false), ("second", false), ("third", false)],
        );
    });
}

#[test]
fn what_another_process_has_done_meanwhile_is_seen() {
    let (Some(qemu_img), Some(qemu_io)) = (Tool::find("qemu-img"), Tool::find("qemu-io")) else {
        return;
    };
    at_a_path(|bql, path| {
        with_bitmaps(&qemu_img, path);
        let injector = Injector::new(1);
        let node = open_injected(bql, path, &injector);
        let guest = guest(bql, &node);
        let mut model = vec![0; 16 << 20];
        let mut noted = 0;
        for round in 0..4usize {
            let ours = pattern(300_000, round as u64);
            let at = round << 20;
            write(bql, &guest, at as u64, &ours).expect("written");
            model[at..at + ours.len()].copy_from_slice(&ours);
            noted += 5 * 65536;
            assert_eq!(dirty(bql, &node, "b"), Some((noted, true, false)));
            if round == 1 {
                // It does not work out at once.
                injector.set_errors(RequestKind::Flush, Chance::ALWAYS, 5);
                node.inactivate(bql).expect_err("not stored").errno();
                injector.stop();
                let more = pattern(1000, 99);
                write(bql, &guest, at as u64, &more).expect("ours still");
                model[at..at + more.len()].copy_from_slice(&more);
            }
            node.inactivate(bql).expect("given away");
            assert_eq!(dirty(bql, &node, "b"), None);
            assert_marks(&qemu_img, path, STORED);
            write(bql, &guest, 0, &[1; 512])
                .expect_err("not ours")
                .errno();
            // The other one writes, frees, and notes it.
            let byte = round as u8 + 1;
            let first = format!("write -P {byte} 8M 1M");
            let second = format!("write -P {byte} {at} 4k");
            let third = format!("write -z -u {} 64k", at + 65536);
            qemu_io.succeed(["-c", &first, "-c", &second, "-c", &third, text(path)]);
            model[8 << 20..9 << 20].fill(byte);
            model[at..at + 4096].fill(byte);
            model[at + 65536..at + (128 << 10)].fill(0);
            if round == 0 {
                noted += 1 << 20;
            }
            node.activate(bql).expect("taken back");
            assert_eq!(dirty(bql, &node, "b"), Some((noted, true, false)));
            assert_eq!(
                dirty(bql, &node, "broken").map(|known| known.1),
                Some(false)
            );
            assert_eq!(node.view(bql).length(), model.len() as u64);
            let seen = read(bql, &guest, 0, model.len()).expect("read");
            assert!(seen == model, "round {round}");
        }
        close(bql, (guest, node));
        assert_sound_and_reads(&qemu_img, path, &model);
    });
}

#[test]
fn what_was_found_out_about_an_image_is_found_out_anew() {
    let (Some(qemu_img), Some(qemu_io)) = (Tool::find("qemu-img"), Tool::find("qemu-io")) else {
        return;
    };
    at_a_path(|bql, path| {
        create(
            bql,
            path,
            &CreateOptions {
                version: 2,
                cluster_size: 4096,
                ..CreateOptions::new(1 << 20)
            },
        );
        let node = open(bql, path, false).expect("opened");
        let guest = guest(bql, &node);
        write(bql, &guest, 0, &[1; 65536]).expect("written");
        let is_zero = |bql: &mut BqlGuard, at| {
            let flags = node.drain(bql).io(async |request: Request<'_>| {
                let status = request.block_status(at, 65536, true).await;
                status.map(|status| status.flags)
            });
            flags.expect("looked at").contains(StatusFlags::ZERO)
        };
        assert!(!is_zero(bql, 0));
        node.inactivate(bql).expect("given away");
        // It becomes newer, longer, and takes clusters that are holes.
        qemu_img.succeed(["amend", "-f", "qcow2", "-o", "compat=1.1", text(path)]);
        qemu_io.succeed(["-c", "write -z 0 4k", text(path)]);
        let grow = ["resize", "-q", "--preallocation=metadata"];
        qemu_img.succeed(grow.into_iter().chain([text(path), "64M"]));
        node.activate(bql).expect("taken back");
        for _ in 0..100 {
            turn(bql);
        }
        let mut expected = vec![0; 4096];
        expected.resize(65536, 1);
        let seen = read(bql, &guest, 0, 65536).expect("nothing is wrong");
        assert!(seen == expected);
        assert!(is_zero(bql, 32 << 20), "a hole is one");
        let driver = node.driver::<Qcow2>().expect("an image");
        let cached = async |request: Request<'_>| driver.cached(request);
        assert_eq!(node.drain(bql).io(cached).places, 32);
        write(bql, &guest, 32 << 20, &[2; 65536]).expect("written");
        close(bql, (guest, node));
        assert_sound(&qemu_img, path);
    });
}

#[test]
fn a_repair_leaves_bitmaps_where_they_are() {
    beside_qemu_img(|bql, path, qemu_img| {
        with_bitmaps(qemu_img, path);
        // Dirty, and with a cluster that nobody uses.
        Stored::damage(path, |image| {
            image.leak();
            image.mark(1);
        });
        let node = open_over(bql, path, read_only(true));
        to(bql, &node, false).expect("for writing");
        assert_marks(qemu_img, path, IN_USE);
        visit(bql, &node, 1 << 20);
        close(bql, node);
        assert_marks(qemu_img, path, STORED);
        assert_sound(qemu_img, path);
    });
}

#[test]
fn an_image_that_is_no_longer_one_is_not_taken_back() {
    beside_qemu_img(|bql, path, qemu_img| {
        create(bql, path, &CreateOptions::new(4 << 20));
        let node = open(bql, path, false).expect("opened");
        let guest = guest(bql, &node);
        write(bql, &guest, 0, &[1; 65536]).expect("written");
        node.inactivate(bql).expect("given away");
        let good = Stored::read(path);
        let damage = |at: u64, byte: u8| {
            let mut damaged = good.clone();
            damaged.put_bytes(at, &[byte]);
            damaged.write(path);
        };
        for (at, byte, said) in [
            (0, 0, "Image is not in qcow2 format"),
            (79, 2, "Image is corrupt"),
            (79, 16, "another one than before"),
        ] {
            damage(at, byte);
            let refused = node.activate(bql).expect_err("no image").to_string();
            assert!(
                refused.starts_with("Could not reopen qcow2 layer: "),
                "{refused}"
            );
            assert!(refused.contains(said), "{refused}");
            assert!(node.view(bql).is_inactive());
        }
        // One that was left dirty is repaired, and one that is longer is so.
        damage(79, 1);
        qemu_img.succeed(["resize", "-q", text(path), "600M"]);
        Stored::damage(path, |image| image.mark(1));
        node.activate(bql).expect("taken back");
        assert_eq!(Stored::read(path).features(), 0);
        assert_eq!(node.view(bql).length(), 600 << 20);
        write(bql, &guest, 599 << 20, &[3; 65536]).expect("written");
        assert_eq!(read(bql, &guest, 0, 65536).expect("read"), [1; 65536]);
        close(bql, (guest, node));
        assert_sound(qemu_img, path);
    });
}

#[test]
fn an_image_opened_inactive_comes_to_life_later() {
    beside_qemu_img(|bql, path, qemu_img| {
        with_bitmaps(qemu_img, path);
        let inactive = NodeOptions {
            inactive: true,
            ..NodeOptions::default()
        };
        let file = File::new(path)
            .options(inactive)
            .open(bql, "")
            .expect("opened");
        let image = Qcow2Image::read(bql, &file).expect("an image");
        let node = image.options(inactive).open(bql, "").expect("opened");
        assert_eq!(dirty(bql, &node, "b"), None, "they are not ours");
        qemu_img.succeed(["bitmap", "--add", text(path), "late"]);
        node.activate(bql).expect("ours");
        assert_eq!(dirty(bql, &node, "late"), Some((0, true, false)));
        assert_marks(
            qemu_img,
            path,
            &[("b", true), ("broken", true), ("late", true)],
        );
        // Closed while it is another one's, it leaves the image alone.
        node.inactivate(bql).expect("given away");
        let before = Stored::read(path);
        close(bql, (node, file));
        assert!(Stored::read(path) == before);
    });
}

#[test]
fn the_right_to_write_does_not_make_an_image_ours() {
    beside_qemu_img(|bql, path, qemu_img| {
        with_bitmaps(qemu_img, path);
        let before = Stored::read(path);
        let options = |read_only| NodeOptions {
            inactive: true,
            read_only,
            ..NodeOptions::default()
        };
        // Whose the image is and whose its file is are different things.
        let node = open_over(bql, path, options(true));
        let for_writing = ReopenOptions::new(options(false));
        node.drain(bql).reopen(for_writing).expect("reopened");
        assert!(Stored::read(path) == before);
        node.activate(bql).expect("ours");
        assert_marks(qemu_img, path, IN_USE);
        assert_eq!(dirty(bql, &node, "b"), Some((0, true, false)));
    });
}

#[test]
fn the_state_of_a_machine_is_kept_beside_the_disk() {
    beside_qemu_img(|bql, path, qemu_img| {
        for (cluster_size, extended_l2) in [(65536, false), (16384, true), (512, false)] {
            let options = CreateOptions {
                cluster_size,
                extended_l2,
                ..CreateOptions::new(1 << 20)
            };
            create(bql, path, &options);
            let (node, disk) = attached(bql, path);
            let data = pattern(1 << 20, 1);
            write(bql, &disk, 0, &data).expect("written");
            let state = pattern(700_000, 2);
            for (piece, at) in state.chunks(12_345).zip((0..).step_by(12_345)) {
                let buffer = Buffer::from(piece);
                bql.block_on(disk.root().save_vmstate(at, buffer.source()))
                    .expect("saved");
            }
            let load = |bql: &mut BqlGuard, disk: &Backend, at: usize, length: usize| {
                let mut buffer = Buffer::zeroed(length);
                buffer.as_mut_slice().fill(9);
                bql.block_on(disk.root().load_vmstate(at as u64, buffer.destination()))
                    .expect("loaded");
                buffer.as_slice().to_vec()
            };
            assert!(load(bql, &disk, 1000, 600_000) == state[1000..601_000]);
            let beyond = load(bql, &disk, 699_000, 4000);
            assert!(beyond[..1000] == state[699_000..] && beyond[1000..].iter().all(|b| *b == 0));
            let info = &mut SnapshotInfo {
                name: "s".into(),
                vm_state_size: state.len() as u64,
                ..Default::default()
            };
            node.drain(bql).create_snapshot(info).expect("made");
            // It belongs to the snapshot now.
            assert!(load(bql, &disk, 0, 4096).iter().all(|byte| *byte == 0));
            write(bql, &disk, 0, &[7; 100_000]).expect("written");
            node.drain(bql).goto_snapshot("s").expect("gone to");
            assert!(load(bql, &disk, 0, state.len()) == state);
            assert!(read(bql, &disk, 0, 1 << 20).expect("read") == data);
            close(bql, (disk, node));
            let list = qemu_img.succeed(["snapshot", "-l", text(path)]);
            assert!(list.contains("684 KiB"), "{list}");
            assert_sound(qemu_img, path);
            // QEMU finds it where it looks for it.
            qemu_img.succeed(["snapshot", "-a", "s", text(path)]);
            let node = open(bql, path, true).expect("opened");
            let reader = backend(bql, &node, Perm::CONSISTENT_READ).expect("a reader");
            assert!(load(bql, &reader, 0, state.len()) == state);
            let refused = {
                let buffer = Buffer::zeroed(512);
                bql.block_on(reader.root().save_vmstate(1 << 62, buffer.source()))
            };
            refused.expect_err("so much there is not").errno();
            close(bql, (reader, node));
        }
    });
}

#[test]
fn a_node_moves_between_loops_while_it_is_written() {
    beside_qemu_img(|bql, path, qemu_img| {
        let options = CreateOptions {
            lazy_refcounts: true,
            cluster_size: 4096,
            ..CreateOptions::new(16 << 20)
        };
        create(bql, path, &options);
        let (node, disk) = attached(bql, path);
        let threads = [
            IoThread::create(bql, "one").expect("a thread"),
            IoThread::create(bql, "two").expect("a thread"),
        ];
        let running: Vec<_> = (0..4u64)
            .map(|number| {
                let root = disk.root().clone();
                let task = async move {
                    let mut random = Random(number);
                    for round in 0..150u8 {
                        let at = (number << 22) + random.next(500) * 8192;
                        let buffer = Buffer::from(&[round | 1; 8192][..]);
                        root.write(at, buffer.source()).await.expect("written");
                        let mut back = Buffer::zeroed(8192);
                        root.read(at, back.destination()).await.expect("read");
                        assert!(back.as_slice().iter().all(|byte| *byte == round | 1));
                        if round % 16 == 0 {
                            root.flush().await.expect("flushed");
                        }
                    }
                };
                threads[number as usize % 2].context().spawn(task)
            })
            .collect();
        let mut moves = 0;
        while running.iter().any(|task| !task.is_finished()) {
            let there = [None, Some(&threads[0]), Some(&threads[1])];
            disk.set_iothread(bql, there[moves % 3]).expect("moved");
            if moves % 5 == 0 {
                let mut section = node.drain(bql);
                let found = section.io(async |request| request.info().await);
                found.expect("known");
            }
            turn(bql);
            moves += 1;
        }
        for task in running {
            bql.block_on(task);
        }
        assert!(moves > 3, "it was written meanwhile");
        disk.set_iothread(bql, None).expect("moved");
        let model = read(bql, &disk, 0, 16 << 20).expect("read");
        close(bql, (disk, node));
        assert_sound_and_reads(qemu_img, path, &model);
    });
}

#[test]
fn damage_is_told_once_as_long_as_it_is_only_read_and_once_when_it_is_marked() {
    at_a_path(|bql, path| {
        let told: Arc<Mutex<Vec<ImageCorrupted>>> = Arc::default();
        let heard = Arc::clone(&told);
        let _listening = bql.events().listen(move |event| {
            if let BackendEvent::ImageCorrupted(event) = event {
                heard.lock().expect("no panic").push(event.clone());
            }
        });
        let take = |bql: &mut BqlGuard| {
            turn(bql);
            std::mem::take(&mut *told.lock().expect("no panic"))
        };
        let options = CreateOptions::new(4 << 20);
        create_written(bql, path, &options, &[(0, &[1; 65536])]);
        let good = Stored::read(path);
        let (l1, l2) = (good.l1(), good.l2());
        // The cluster is not where a cluster can be.
        Stored::damage(path, |image| image.put_bytes(l2 + 6, &[2]));
        let open_named = |bql: &mut BqlGuard, read_only: bool| {
            let file = File::new(path).read_only(read_only).open(bql, "");
            let image = Qcow2Image::read(bql, &file.expect("opened")).expect("an image");
            let node = image
                .read_only(read_only)
                .open(bql, "image")
                .expect("opened");
            let perm = match read_only {
                true => Perm::CONSISTENT_READ,
                false => READ_WRITE,
            };
            let guest = guest_with(bql, &node, perm);
            (node, guest)
        };
        let mut expected = ImageCorrupted {
            device: "guest".into(),
            node_name: "image".into(),
            message:
                "Cluster allocation offset 0x50200 unaligned (L2 offset: 0x40000, L2 index: 0)"
                    .into(),
            offset: None,
            size: None,
            fatal: false,
        };
        let (node, guest) = open_named(bql, true);
        for _ in 0..2 {
            read(bql, &guest, 0, 512).expect_err("nowhere").errno();
        }
        let events = take(bql);
        expected.message = events[0].message.clone();
        assert!(
            expected.message.contains("unaligned"),
            "{}",
            expected.message
        );
        assert_eq!(events, [expected.clone()]);
        close(bql, (guest, node));
        assert_eq!(Stored::read(path).features(), 0, "it is not marked");
        let (node, guest) = open_named(bql, false);
        for _ in 0..2 {
            read(bql, &guest, 0, 512).expect_err("nowhere").errno();
        }
        write(bql, &guest, 1 << 20, &[1; 512])
            .expect_err("nobody writes it")
            .errno();
        expected.fatal = true;
        assert_eq!(take(bql), [expected.clone()]);
        assert_eq!(Stored::read(path).features(), 2, "it is marked");
        close(bql, (guest, node));
        // The cluster is where the first-level table is.
        let mut damaged = good;
        damaged.put(l2, l1 | COPIED);
        damaged.write(path);
        let (_node, guest) = open_named(bql, false);
        write(bql, &guest, 1024, &[1; 512])
            .expect_err("that is metadata")
            .errno();
        assert_eq!(
            take(bql),
            [ImageCorrupted {
                message: "Preventing invalid write on metadata (overlaps with active L1 table)"
                    .into(),
                offset: Some(l1 + 1024),
                size: Some(512),
                ..expected
            }]
        );
    });
}

/// To count lazily, or not.
fn lazy(lazy: bool) -> ReopenOptions {
    ReopenOptions::new(NodeOptions::default()).settings(Qcow2Options {
        lazy_refcounts: Some(lazy),
        ..Default::default()
    })
}

/// A place may hold the value, and if the write is known to be done nothing else.
fn note(places: &mut [Vec<u8>], value: u8, is_done: bool) {
    for known in places {
        if is_done {
            known.clear();
        }
        known.push(value);
    }
}

/// Writes, flushes, reopens, gives away and takes back, while every eighth
/// transfer or so fails: what is not reported as done is old or new, and the
/// image is sound.
#[test]
fn whatever_fails_the_image_is_sound() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    for seed in 0..12u64 {
        at_a_path(|bql, path| {
            with_bitmaps(&qemu_img, path);
            let injector = Injector::new(seed);
            let node = open_injected(bql, path, &injector);
            let guest = guest(bql, &node);
            let options = lazy(seed % 2 == 0);
            node.drain(bql).reopen(options).expect("reopened");
            let mut random = Random(seed);
            // What each 4 KiB may hold.
            let mut model = vec![vec![0u8]; 16 << 8];
            for round in 0..120u8 {
                for kind in [RequestKind::Write, RequestKind::Flush, RequestKind::Zero] {
                    injector.set_errors(kind, Chance::once_in(8), 5);
                }
                let first = random.next(16 << 8);
                let count = (1 + random.next(40)).min((16 << 8) - first);
                let places = &mut model[first as usize..(first + count) as usize];
                match random.next(12) {
                    0..=5 => {
                        let value = round + 1;
                        let bytes = vec![value; count as usize * 4096];
                        let done = write(bql, &guest, first * 4096, &bytes);
                        note(places, value, done.is_ok());
                    }
                    6 => {
                        let flags = WriteFlags::MAY_UNMAP;
                        let done = zero(bql, &guest, first * 4096, count * 4096, flags);
                        note(places, 0, done.is_ok());
                    }
                    7 | 8 => drop(flush(bql, &guest)),
                    9 => {
                        let to = lazy(random.next(2) == 0);
                        let _ = node.drain(bql).reopen(to);
                    }
                    10 => drop(node.store_bitmaps(bql)),
                    _ => {
                        if node.inactivate(bql).is_ok() {
                            while node.activate(bql).is_err() {}
                        }
                    }
                }
            }
            injector.stop();
            let seen = read(bql, &guest, 0, 16 << 20).expect("read");
            for (at, seen) in seen.chunks_exact(4096).enumerate() {
                let known = &model[at];
                assert!(
                    seen.iter().all(|byte| known.contains(byte)),
                    "seed {seed}: {at} has {}, not {known:?}",
                    seen[0]
                );
            }
            write(bql, &guest, 0, &[1; 512]).expect("it works");
            close(bql, (guest, node));
            let check = qemu_img.run(["check", text(path)]);
            let code = check.status.code();
            assert!(
                code == Some(0) || code == Some(3),
                "seed {seed}: {}",
                String::from_utf8_lossy(&check.stdout)
            );
            assert_marks(&qemu_img, path, STORED);
        });
    }
}
