//! An image that changes hands, or the right to write: what is kept with it is
//! stored before, and looked at anew after.

use std::path::Path;
use std::sync::{Arc, Mutex};

use block_drivers::{Chance, File, Inject, Injector, RequestKind};
use block_gs::{Backend, BqlGuard, IoThread, Node, NodeOptions, Perm, ReopenOptions, SnapshotInfo};
use block_io::aio::Wait;
use block_io::{BackendEvent, Buffer, ImageCorrupted, Request, StatusFlags};
use block_qcow2::{CreateOptions, Qcow2, Qcow2Image, Qcow2Options};

use crate::support::{
    READ_WRITE, Tool, backend, create, disk, flush, in_layer, open, pattern, qemu_reads, read,
    write,
};
use crate::writing::Random;

fn end(bql: &mut BqlGuard) {
    bql.poll(Wait::No);
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// How many bytes are dirty, whether it holds, and whether it must not change.
fn dirty(bql: &BqlGuard, node: &Node, name: &str) -> Option<(u64, bool, bool)> {
    let view = node.bitmaps(bql).find(|view| view.name() == name)?;
    let holds = !view.is_inconsistent();
    Some((view.info().count, holds, view.is_read_only()))
}

/// What QEMU says of the bitmaps of an image that may be in use.
fn flags(qemu_img: &Tool, path: &Path) -> Vec<(String, bool)> {
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

fn named(all: &[(&str, bool)]) -> Vec<(String, bool)> {
    all.iter()
        .map(|(name, in_use)| ((*name).to_owned(), *in_use))
        .collect()
}

fn to(bql: &mut BqlGuard, node: &Node, read_only: bool) -> Result<(), block_gs::GraphError> {
    let options = NodeOptions {
        read_only,
        ..NodeOptions::default()
    };
    node.drain(bql).reopen(ReopenOptions::new(options))
}

/// An image of 16 MiB with a bitmap that notes writes, and one that was left
/// in use.
fn with_bitmaps(qemu_img: &Tool, path: &Path) {
    qemu_img.succeed(["create", "-q", "-f", "qcow2", text(path), "16M"]);
    qemu_img.succeed(["bitmap", "--add", "-g", "64k", text(path), "broken"]);
    // Its flags are behind its name's offset and size of the table.
    let mut bytes = std::fs::read(path).expect("read");
    let at = bytes
        .windows(6)
        .rposition(|window| window == b"broken")
        .expect("the directory");
    bytes[at - 24 + 15] |= 1;
    std::fs::write(path, bytes).expect("written");
    qemu_img.succeed(["bitmap", "--add", "-g", "64k", text(path), "b"]);
    assert_eq!(
        flags(qemu_img, path),
        named(&[("b", false), ("broken", true)])
    );
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
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        with_bitmaps(&qemu_img, &path);
        let unused = named(&[("b", false), ("broken", true)]);
        let used = named(&[("b", true), ("broken", true)]);
        let file = File::new(&path).open(bql, "").expect("opened");
        let image = Qcow2Image::read(bql, &file).expect("an image");
        let node = image.read_only(true).open(bql, "").expect("opened");
        assert_eq!(flags(&qemu_img, &path), unused);
        assert_eq!(dirty(bql, &node, "b"), Some((0, true, true)));
        for round in 1..4u64 {
            to(bql, &node, false).expect("for writing");
            assert_eq!(flags(&qemu_img, &path), used);
            assert_eq!(dirty(bql, &node, "broken"), Some((0, false, false)));
            {
                let disk = disk(bql, &node);
                write(bql, &disk, round << 20, &[1; 65536]).expect("noted");
            }
            end(bql);
            let count = round * 65536;
            assert_eq!(dirty(bql, &node, "b"), Some((count, true, false)));
            to(bql, &node, true).expect("for reading");
            assert_eq!(flags(&qemu_img, &path), unused);
            assert_eq!(dirty(bql, &node, "b"), Some((count, true, true)));
            qemu_img.succeed(["check", "-q", "-U", text(&path)]);
        }
        drop((node, file));
        end(bql);
        let again = open(bql, &path, true).expect("opened");
        assert_eq!(dirty(bql, &again, "b"), Some((3 * 65536, true, true)));
        assert_eq!(dirty(bql, &again, "broken"), Some((0, false, true)));
    });
}

#[test]
fn bitmaps_that_were_stored_in_vain_are_marked_before_the_next_write() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        let used = named(&[("b", true), ("broken", true)]);
        for how in 0..3 {
            with_bitmaps(&qemu_img, &path);
            let node = open(bql, &path, false).expect("opened");
            let disk = disk(bql, &node);
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
                    assert_eq!(flags(&qemu_img, &path), used, "it is ours again");
                }
            }
            assert_eq!(dirty(bql, &node, "b"), Some((65536, true, false)));
            let zeroes = block_io::WriteFlags::empty();
            crate::support::zero(bql, &disk, 1 << 20, 65536, zeroes).expect("zeroed");
            write(bql, &disk, 4 << 20, &[1; 512]).expect("written");
            assert_eq!(flags(&qemu_img, &path), used);
            assert_eq!(dirty(bql, &node, "b"), Some((3 * 65536, true, false)));
            drop((disk, node));
            end(bql);
            qemu_img.succeed(["check", "-q", text(&path)]);
            let again = open(bql, &path, true).expect("opened");
            assert_eq!(dirty(bql, &again, "b"), Some((3 * 65536, true, true)));
            drop(again);
            end(bql);
        }
    });
}

#[test]
fn bitmaps_that_cannot_be_stored_stay_and_hold_no_more_in_the_image() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        with_bitmaps(&qemu_img, &path);
        let injector = Injector::new(1);
        let node = open_injected(bql, &path, &injector);
        {
            let disk = disk(bql, &node);
            write(bql, &disk, 0, &[1; 65536]).expect("written");
        }
        end(bql);
        let used = named(&[("b", true), ("broken", true)]);
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
        {
            let disk = disk(bql, &node);
            write(bql, &disk, 1 << 20, &[1; 65536]).expect("written");
        }
        end(bql);
        assert_eq!(flags(&qemu_img, &path), used);
        // The last try fails, too: nobody is told, and nothing that does not
        // hold looks as if it did.
        injector.set_errors(RequestKind::Write, Chance::ALWAYS, 28);
        drop(node);
        end(bql);
        assert_eq!(flags(&qemu_img, &path), used);
        let node = open(bql, &path, false).expect("opened");
        assert_eq!(dirty(bql, &node, "b"), Some((0, false, false)));
    });
}

#[test]
fn bitmaps_stay_in_an_image_that_cannot_be_opened_because_of_one() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        qemu_img.succeed(["create", "-q", "-f", "qcow2", text(&path), "16M"]);
        for name in ["first", "second", "third"] {
            qemu_img.succeed(["bitmap", "--add", "-g", "64k", text(&path), name]);
        }
        let mut bytes = std::fs::read(&path).expect("read");
        let named_at = bytes.windows(6).rposition(|window| window == b"second");
        let entry = named_at.expect("the directory") - 24;
        let table: [u8; 8] = bytes[entry..entry + 8].try_into().expect("eight");
        // A word that says what cannot be.
        let word = u64::from_be_bytes(table) as usize;
        bytes[word + 7] = 2;
        std::fs::write(&path, &bytes).expect("written");
        for _ in 0..2 {
            let refused = open(bql, &path, false).expect_err("one cannot be read");
            assert!(refused.to_string().contains("bitmap"), "{refused}");
            end(bql);
        }
        let mut after = std::fs::read(&path).expect("read");
        assert!(after == bytes, "nobody has written to it");
        after[word + 7] = 0;
        std::fs::write(&path, after).expect("written");
        let all = named(&[("first", false), ("second", false), ("third", false)]);
        assert_eq!(flags(&qemu_img, &path), all);
    });
}

#[test]
fn what_another_process_has_done_meanwhile_is_seen() {
    let (Some(qemu_img), Some(qemu_io)) = (Tool::find("qemu-img"), Tool::find("qemu-io")) else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        with_bitmaps(&qemu_img, &path);
        let injector = Injector::new(1);
        let node = open_injected(bql, &path, &injector);
        let guest = Backend::new(bql, "guest", READ_WRITE, Perm::all()).expect("a backend");
        guest.insert(bql, &node).expect("nobody objects");
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
            assert_eq!(
                flags(&qemu_img, &path),
                named(&[("b", false), ("broken", true)])
            );
            write(bql, &guest, 0, &[1; 512])
                .expect_err("not ours")
                .errno();
            // The other one writes, frees, and notes it.
            let byte = round as u8 + 1;
            let first = format!("write -P {byte} 8M 1M");
            let second = format!("write -P {byte} {at} 4k");
            let third = format!("write -z -u {} 64k", at + 65536);
            qemu_io.succeed(["-c", &first, "-c", &second, "-c", &third, text(&path)]);
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
        drop((guest, node));
        end(bql);
        qemu_img.succeed(["check", "-q", text(&path)]);
        assert!(qemu_reads(&qemu_img, &path) == model);
    });
}

#[test]
fn what_was_found_out_about_an_image_is_found_out_anew() {
    let (Some(qemu_img), Some(qemu_io)) = (Tool::find("qemu-img"), Tool::find("qemu-io")) else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        create(
            bql,
            &path,
            &CreateOptions {
                version: 2,
                cluster_size: 4096,
                ..CreateOptions::new(1 << 20)
            },
        );
        let node = open(bql, &path, false).expect("opened");
        let guest = Backend::new(bql, "guest", READ_WRITE, Perm::all()).expect("a backend");
        guest.insert(bql, &node).expect("nobody objects");
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
        qemu_img.succeed(["amend", "-f", "qcow2", "-o", "compat=1.1", text(&path)]);
        qemu_io.succeed(["-c", "write -z 0 4k", text(&path)]);
        let grow = ["resize", "-q", "--preallocation=metadata"];
        qemu_img.succeed(grow.into_iter().chain([text(&path), "64M"]));
        node.activate(bql).expect("taken back");
        for _ in 0..100 {
            end(bql);
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
        drop((guest, node));
        end(bql);
        qemu_img.succeed(["check", "-q", text(&path)]);
    });
}

#[test]
fn a_repair_leaves_bitmaps_where_they_are() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        with_bitmaps(&qemu_img, &path);
        // Dirty, and with a cluster that nobody uses.
        let mut bytes = std::fs::read(&path).expect("read");
        let word = |bytes: &[u8], at: usize| {
            let word: [u8; 8] = bytes[at..at + 8].try_into().expect("eight");
            u64::from_be_bytes(word) as usize
        };
        bytes.resize(bytes.len().next_multiple_of(65536), 0);
        let block = word(&bytes, word(&bytes, 48));
        let leaked = bytes.len() / 65536;
        bytes[block + leaked * 2 + 1] = 1;
        bytes.resize(bytes.len() + 65536, 0);
        bytes[79] |= 1;
        std::fs::write(&path, bytes).expect("written");
        let file = File::new(&path).open(bql, "").expect("opened");
        let image = Qcow2Image::read(bql, &file).expect("an image");
        let node = image.read_only(true).open(bql, "").expect("opened");
        to(bql, &node, false).expect("for writing");
        assert_eq!(
            flags(&qemu_img, &path),
            named(&[("b", true), ("broken", true)])
        );
        {
            let disk = disk(bql, &node);
            write(bql, &disk, 1 << 20, &[1; 65536]).expect("noted");
        }
        drop((file, node));
        end(bql);
        assert_eq!(
            flags(&qemu_img, &path),
            named(&[("b", false), ("broken", true)])
        );
        qemu_img.succeed(["check", "-q", text(&path)]);
    });
}

#[test]
fn an_image_that_is_no_longer_one_is_not_taken_back() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        create(bql, &path, &CreateOptions::new(4 << 20));
        let node = open(bql, &path, false).expect("opened");
        let guest = Backend::new(bql, "guest", READ_WRITE, Perm::all()).expect("a backend");
        guest.insert(bql, &node).expect("nobody objects");
        write(bql, &guest, 0, &[1; 65536]).expect("written");
        node.inactivate(bql).expect("given away");
        let kept = std::fs::read(&path).expect("read");
        let damage = |at: usize, byte: u8| {
            let mut bytes = kept.clone();
            bytes[at] = byte;
            std::fs::write(&path, bytes).expect("written");
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
        qemu_img.succeed(["resize", "-q", text(&path), "600M"]);
        let mut bytes = std::fs::read(&path).expect("read");
        bytes[79] |= 1;
        std::fs::write(&path, bytes).expect("written");
        node.activate(bql).expect("taken back");
        assert_eq!(std::fs::read(&path).expect("read")[79], 0);
        assert_eq!(node.view(bql).length(), 600 << 20);
        write(bql, &guest, 599 << 20, &[3; 65536]).expect("written");
        assert_eq!(read(bql, &guest, 0, 65536).expect("read"), [1; 65536]);
        drop((guest, node));
        end(bql);
        qemu_img.succeed(["check", "-q", text(&path)]);
    });
}

#[test]
fn an_image_opened_inactive_comes_to_life_later() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        with_bitmaps(&qemu_img, &path);
        let inactive = NodeOptions {
            inactive: true,
            ..NodeOptions::default()
        };
        let file = File::new(&path)
            .options(inactive)
            .open(bql, "")
            .expect("opened");
        let image = Qcow2Image::read(bql, &file).expect("an image");
        let node = image.options(inactive).open(bql, "").expect("opened");
        assert_eq!(dirty(bql, &node, "b"), None, "they are not ours");
        qemu_img.succeed(["bitmap", "--add", text(&path), "late"]);
        node.activate(bql).expect("ours");
        assert_eq!(dirty(bql, &node, "late"), Some((0, true, false)));
        let all = named(&[("b", true), ("broken", true), ("late", true)]);
        assert_eq!(flags(&qemu_img, &path), all);
        // Closed while it is another one's, it leaves the image alone.
        node.inactivate(bql).expect("given away");
        let before = std::fs::read(&path).expect("read");
        drop((node, file));
        end(bql);
        assert!(std::fs::read(&path).expect("read") == before);
    });
}

#[test]
fn the_right_to_write_does_not_make_an_image_ours() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        with_bitmaps(&qemu_img, &path);
        let before = std::fs::read(&path).expect("read");
        let options = |read_only| NodeOptions {
            inactive: true,
            read_only,
            ..NodeOptions::default()
        };
        // Whose the image is and whose its file is are different things.
        let file = File::new(&path).open(bql, "").expect("opened");
        let image = Qcow2Image::read(bql, &file).expect("an image");
        let node = image.options(options(true)).open(bql, "").expect("opened");
        let for_writing = ReopenOptions::new(options(false));
        node.drain(bql).reopen(for_writing).expect("reopened");
        assert!(std::fs::read(&path).expect("read") == before);
        node.activate(bql).expect("ours");
        let all = named(&[("b", true), ("broken", true)]);
        assert_eq!(flags(&qemu_img, &path), all);
        assert_eq!(dirty(bql, &node, "b"), Some((0, true, false)));
    });
}

#[test]
fn the_state_of_a_machine_is_kept_beside_the_disk() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        for (cluster_size, extended_l2) in [(65536, false), (16384, true), (512, false)] {
            let options = CreateOptions {
                cluster_size,
                extended_l2,
                ..CreateOptions::new(1 << 20)
            };
            create(bql, &path, &options);
            let node = open(bql, &path, false).expect("opened");
            let disk = disk(bql, &node);
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
            drop((disk, node));
            end(bql);
            let list = qemu_img.succeed(["snapshot", "-l", text(&path)]);
            assert!(list.contains("684 KiB"), "{list}");
            qemu_img.succeed(["check", "-q", text(&path)]);
            // QEMU finds it where it looks for it.
            qemu_img.succeed(["snapshot", "-a", "s", text(&path)]);
            let node = open(bql, &path, true).expect("opened");
            let reader = backend(bql, &node, Perm::CONSISTENT_READ).expect("a reader");
            assert!(load(bql, &reader, 0, state.len()) == state);
            let refused = {
                let buffer = Buffer::zeroed(512);
                bql.block_on(reader.root().save_vmstate(1 << 62, buffer.source()))
            };
            refused.expect_err("so much there is not").errno();
            drop((reader, node));
            end(bql);
        }
    });
}

#[test]
fn a_node_moves_between_loops_while_it_is_written() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        let options = CreateOptions {
            lazy_refcounts: true,
            cluster_size: 4096,
            ..CreateOptions::new(16 << 20)
        };
        create(bql, &path, &options);
        let node = open(bql, &path, false).expect("opened");
        let disk = disk(bql, &node);
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
            bql.poll(Wait::No);
            moves += 1;
        }
        for task in running {
            bql.block_on(task);
        }
        assert!(moves > 3, "it was written meanwhile");
        disk.set_iothread(bql, None).expect("moved");
        let model = read(bql, &disk, 0, 16 << 20).expect("read");
        drop((disk, node));
        end(bql);
        qemu_img.succeed(["check", "-q", text(&path)]);
        assert!(qemu_reads(&qemu_img, &path) == model);
    });
}

#[test]
fn damage_is_told_once_as_long_as_it_is_only_read_and_once_when_it_is_marked() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        let told: Arc<Mutex<Vec<ImageCorrupted>>> = Arc::default();
        let heard = Arc::clone(&told);
        let _listening = bql.events().listen(move |event| {
            if let BackendEvent::ImageCorrupted(event) = event {
                heard.lock().expect("no panic").push(event.clone());
            }
        });
        let take = |bql: &mut BqlGuard| {
            end(bql);
            std::mem::take(&mut *told.lock().expect("no panic"))
        };
        create(bql, &path, &CreateOptions::new(4 << 20));
        {
            let node = open(bql, &path, false).expect("opened");
            let disk = disk(bql, &node);
            write(bql, &disk, 0, &[1; 65536]).expect("written");
        }
        end(bql);
        let kept = std::fs::read(&path).expect("read");
        let word = |at: usize| u64::from_be_bytes(kept[at..at + 8].try_into().expect("eight"));
        let l1 = word(40) as usize;
        let l2 = (word(l1) & 0x00ff_ffff_ffff_fe00) as usize;
        // The cluster is not where a cluster can be.
        let mut bytes = kept.clone();
        bytes[l2 + 6] = 2;
        std::fs::write(&path, bytes).expect("written");
        let open_named = |bql: &mut BqlGuard, read_only: bool| {
            let file = File::new(&path).read_only(read_only).open(bql, "");
            let image = Qcow2Image::read(bql, &file.expect("opened")).expect("an image");
            let node = image
                .read_only(read_only)
                .open(bql, "image")
                .expect("opened");
            let perm = match read_only {
                true => Perm::CONSISTENT_READ,
                false => READ_WRITE,
            };
            let guest = Backend::new(bql, "guest", perm, Perm::all()).expect("a backend");
            guest.insert(bql, &node).expect("nobody objects");
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
        let open_pair = open_named(bql, true);
        for _ in 0..2 {
            read(bql, &open_pair.1, 0, 512)
                .expect_err("nowhere")
                .errno();
        }
        let events = take(bql);
        expected.message = events[0].message.clone();
        assert!(
            expected.message.contains("unaligned"),
            "{}",
            expected.message
        );
        assert_eq!(events, [expected.clone()]);
        drop(open_pair);
        end(bql);
        assert_eq!(
            std::fs::read(&path).expect("read")[79],
            0,
            "it is not marked"
        );
        let open_pair = open_named(bql, false);
        for _ in 0..2 {
            read(bql, &open_pair.1, 0, 512)
                .expect_err("nowhere")
                .errno();
        }
        write(bql, &open_pair.1, 1 << 20, &[1; 512])
            .expect_err("nobody writes it")
            .errno();
        expected.fatal = true;
        assert_eq!(take(bql), [expected.clone()]);
        assert_eq!(std::fs::read(&path).expect("read")[79], 2, "it is marked");
        drop(open_pair);
        end(bql);
        // The cluster is where the first-level table is.
        let mut bytes = kept.clone();
        bytes[l2..l2 + 8].copy_from_slice(&(l1 as u64 | 1 << 63).to_be_bytes());
        std::fs::write(&path, bytes).expect("written");
        let open_pair = open_named(bql, false);
        write(bql, &open_pair.1, 1024, &[1; 512])
            .expect_err("that is metadata")
            .errno();
        assert_eq!(
            take(bql),
            [ImageCorrupted {
                message: "Preventing invalid write on metadata (overlaps with active L1 table)"
                    .into(),
                offset: Some(l1 as u64 + 1024),
                size: Some(512),
                ..expected
            }]
        );
    });
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
        in_layer(|bql, directory| {
            let path = directory.path().join("image");
            with_bitmaps(&qemu_img, &path);
            let injector = Injector::new(seed);
            let node = open_injected(bql, &path, &injector);
            let guest = Backend::new(bql, "guest", READ_WRITE, Perm::all()).expect("a backend");
            guest.insert(bql, &node).expect("nobody objects");
            let options = Qcow2Options {
                lazy_refcounts: Some(seed % 2 == 0),
                ..Default::default()
            };
            let settings = ReopenOptions::new(NodeOptions::default()).settings(options);
            node.drain(bql).reopen(settings).expect("reopened");
            let mut random = Random(seed);
            // What each 4 KiB may hold.
            let mut model = vec![vec![0u8]; 16 << 8];
            for round in 0..120u8 {
                for kind in [RequestKind::Write, RequestKind::Flush, RequestKind::Zero] {
                    injector.set_errors(kind, Chance::once_in(8), 5);
                }
                let first = random.next(16 << 8);
                let count = (1 + random.next(40)).min((16 << 8) - first);
                match random.next(12) {
                    0..=5 => {
                        let value = round + 1;
                        let bytes = vec![value; count as usize * 4096];
                        let done = write(bql, &guest, first * 4096, &bytes);
                        for known in &mut model[first as usize..(first + count) as usize] {
                            if done.is_ok() {
                                known.clear();
                            }
                            known.push(value);
                        }
                    }
                    6 => {
                        let flags = block_io::WriteFlags::MAY_UNMAP;
                        let bytes = count * 4096;
                        let done = crate::support::zero(bql, &guest, first * 4096, bytes, flags);
                        for known in &mut model[first as usize..(first + count) as usize] {
                            if done.is_ok() {
                                known.clear();
                            }
                            known.push(0);
                        }
                    }
                    7 | 8 => drop(flush(bql, &guest)),
                    9 => {
                        let lazy = Qcow2Options {
                            lazy_refcounts: Some(random.next(2) == 0),
                            ..Default::default()
                        };
                        let to = ReopenOptions::new(NodeOptions::default()).settings(lazy);
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
            drop((guest, node));
            end(bql);
            let check = qemu_img.run(["check", text(&path)]);
            let code = check.status.code();
            assert!(
                code == Some(0) || code == Some(3),
                "seed {seed}: {}",
                String::from_utf8_lossy(&check.stdout)
            );
            assert_eq!(
                flags(&qemu_img, &path),
                named(&[("b", false), ("broken", true)])
            );
        });
    }
}
