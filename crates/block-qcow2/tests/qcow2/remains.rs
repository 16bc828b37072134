//! What is left where nobody looks: behind the end of the disk, in tables that
//! are not where they say, in names that are no text.

use std::path::Path;

use block_common::Value;
use block_drivers::File;
use block_gs::{Backend, BqlGuard, Node, NodeOptions, Perm, SnapshotInfo};
use block_io::aio::Wait;
use block_io::{Buffer, Preallocation};
use block_qcow2::{CreateOptions, Qcow2Image};

use crate::support::{
    READ_WRITE, Tool, backend, create, disk, in_layer, open, pattern, qemu_reads, read, write,
};

fn end(bql: &mut BqlGuard) {
    bql.poll(Wait::No);
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

fn resize(bql: &mut BqlGuard, disk: &Backend, length: u64) {
    bql.block_on(disk.root().truncate(length, true, Preallocation::Off))
        .expect("resized");
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

fn resizable(bql: &mut BqlGuard, node: &Node) -> Backend {
    backend(bql, node, READ_WRITE | Perm::RESIZE).expect("nobody objects")
}

#[test]
fn what_was_cut_off_in_a_subcluster_does_not_come_back() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        let options = CreateOptions {
            extended_l2: true,
            ..CreateOptions::new(1 << 20)
        };
        create(bql, &path, &options);
        let node = open(bql, &path, false).expect("opened");
        let disk = resizable(bql, &node);
        let (start, there) = (5 << 16, 10 << 11);
        write(bql, &disk, start, &[1; 2048]).expect("written");
        write(bql, &disk, start + there, &[2; 8192]).expect("written");
        // In a subcluster that nothing is in, before some that have data.
        resize(bql, &disk, start + 4096);
        resize(bql, &disk, 1 << 20);
        let mut model = vec![0; 1 << 20];
        model[5 << 16..][..2048].fill(1);
        assert!(read(bql, &disk, 0, 1 << 20).expect("read") == model);
        drop((disk, node));
        end(bql);
        qemu_img.succeed(["check", "-q", text(&path)]);
        assert!(qemu_reads(&qemu_img, &path) == model);
    });
}

#[test]
fn what_was_left_in_the_last_cluster_does_not_come_back() {
    let (Some(qemu_img), Some(qemu_io)) = (Tool::find("qemu-img"), Tool::find("qemu-io")) else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        qemu_img.succeed(["create", "-q", "-f", "qcow2", text(&path), "1M"]);
        qemu_io.succeed(["-c", "write -P 3 0 1M", text(&path)]);
        // What is behind the end stays in the file.
        qemu_img.succeed(["resize", "-q", "--shrink", text(&path), "1000k"]);
        let node = open(bql, &path, false).expect("opened");
        let disk = resizable(bql, &node);
        resize(bql, &disk, 2 << 20);
        let mut model = vec![3; 1000 << 10];
        model.resize(2 << 20, 0);
        assert!(read(bql, &disk, 0, 2 << 20).expect("read") == model);
    });
}

/// An image of 1 MiB full of a byte, that went back to a snapshot with the
/// state of a machine, which it has behind its end now.
fn with_state(bql: &mut BqlGuard, path: &Path, cluster_size: u64) -> (Node, Backend) {
    let options = CreateOptions {
        cluster_size,
        ..CreateOptions::new(1 << 20)
    };
    create(bql, path, &options);
    let node = open(bql, path, false).expect("opened");
    let disk = resizable(bql, &node);
    write(bql, &disk, 0, &[7; 1 << 20]).expect("written");
    let state = pattern(300_000, 2);
    bql.block_on(disk.root().save_vmstate(0, Buffer::from(&*state).source()))
        .expect("saved");
    let info = &mut SnapshotInfo {
        name: "s".into(),
        vm_state_size: state.len() as u64,
        ..Default::default()
    };
    node.drain(bql).create_snapshot(info).expect("made");
    node.drain(bql).goto_snapshot("s").expect("gone to");
    (node, disk)
}

#[test]
fn the_state_of_a_machine_is_never_a_part_of_the_disk() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        for cluster_size in [512, 4096] {
            // Longer: it is not in what is new.
            let (node, disk) = with_state(bql, &path, cluster_size);
            resize(bql, &disk, 8 << 20);
            let seen = read(bql, &disk, 0, 8 << 20).expect("read");
            assert!(seen[..1 << 20].iter().all(|byte| *byte == 7));
            assert!(is_zero(&seen[1 << 20..]), "{cluster_size}");
            drop((disk, node));
            end(bql);
            qemu_img.succeed(["check", "-q", text(&path)]);
            // Shorter: nothing counts it any more but the snapshot.
            let (node, disk) = with_state(bql, &path, cluster_size);
            resize(bql, &disk, 64 << 10);
            drop((disk, node));
            end(bql);
            qemu_img.succeed(["check", "-q", text(&path)]);
            // Empty: likewise.
            let (node, disk) = with_state(bql, &path, cluster_size);
            node.drain(bql).make_empty().expect("emptied");
            assert!(is_zero(&read(bql, &disk, 0, 1 << 20).expect("read")));
            drop((disk, node));
            end(bql);
            qemu_img.succeed(["check", "-q", text(&path)]);
        }
    });
}

#[test]
fn a_state_of_any_length_can_be_claimed() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        create(bql, &path, &CreateOptions::new(1 << 20));
        let node = open(bql, &path, false).expect("opened");
        let info = &mut SnapshotInfo {
            name: "s".into(),
            vm_state_size: u64::MAX,
            ..Default::default()
        };
        node.drain(bql).create_snapshot(info).expect("made");
        let disk = disk(bql, &node);
        write(bql, &disk, 0, &[1; 4096]).expect("written");
    });
}

/// Where the table of snapshots is, and how long it is at most.
fn snapshot_table(bytes: &[u8]) -> usize {
    u64::from_be_bytes(bytes[64..72].try_into().expect("eight")) as usize
}

#[test]
fn names_of_snapshots_that_are_no_text_stay_as_they_are() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        qemu_img.succeed(["create", "-q", "-f", "qcow2", text(&path), "1M"]);
        qemu_img.succeed(["snapshot", "-c", "name-one", text(&path)]);
        qemu_img.succeed(["snapshot", "-c", "name-two", text(&path)]);
        let mut bytes = std::fs::read(&path).expect("read");
        let table = snapshot_table(&bytes);
        let at = |bytes: &[u8], table: usize, what: &[u8]| {
            let mut all = bytes[table..].windows(what.len());
            all.position(|window| window == what).map(|at| table + at)
        };
        let one = at(&bytes, table, b"name-one").expect("the first");
        // Latin-1, and an identifier that is no text either.
        bytes[one + 4] = 0xe4;
        bytes[one - 1] = 0xff;
        std::fs::write(&path, &bytes).expect("written");
        let node = open(bql, &path, false).expect("opened");
        let listed = node.view(bql).snapshots(bql).expect("listed");
        assert_eq!(listed[0].name, "name\u{fffd}one");
        let mut info = SnapshotInfo {
            name: "three".into(),
            ..Default::default()
        };
        // The table is written anew, elsewhere.
        node.drain(bql).create_snapshot(&mut info).expect("made");
        assert_eq!(info.id, "3");
        drop(node);
        end(bql);
        let after = std::fs::read(&path).expect("read");
        let moved = snapshot_table(&after);
        assert_ne!(moved, table);
        assert!(at(&after, moved, b"\xffname\xe4one").is_some());
        qemu_img.succeed(["check", "-q", text(&path)]);
    });
}

#[test]
fn a_new_snapshot_is_called_as_no_other_is() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        qemu_img.succeed(["create", "-q", "-f", "qcow2", text(&path), "1M"]);
        qemu_img.succeed(["snapshot", "-c", "8446744073709551615!", text(&path)]);
        let mut bytes = std::fs::read(&path).expect("read");
        let table = snapshot_table(&bytes);
        // Of "1" and the name the greatest number there is, and a short name.
        bytes[table + 13] = 20;
        bytes[table + 15] = 1;
        std::fs::write(&path, &bytes).expect("written");
        let node = open(bql, &path, false).expect("opened");
        let listed = node.view(bql).snapshots(bql).expect("listed");
        assert_eq!(listed[0].id, u64::MAX.to_string());
        let mut info = SnapshotInfo {
            name: "other".into(),
            ..Default::default()
        };
        node.drain(bql).create_snapshot(&mut info).expect("made");
        assert_eq!(info.id, "1");
    });
}

/// Where the header says that the directory of bitmaps is: after the length of
/// the extension and how many there are.
fn directory_field(bytes: &[u8]) -> usize {
    let kind = 0x2385_2875u32.to_be_bytes();
    let mut words = bytes[..4096].windows(4);
    words.position(|window| window == kind).expect("bitmaps") + 16
}

#[test]
fn a_directory_of_bitmaps_is_not_marked_where_a_table_is() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        qemu_img.succeed(["create", "-q", "-f", "qcow2", text(&path), "2G"]);
        qemu_img.succeed(["bitmap", "--add", "-g", "64k", text(&path), "b"]);
        let mut bytes = std::fs::read(&path).expect("read");
        let l1 = u64::from_be_bytes(bytes[40..48].try_into().expect("eight"));
        let field = directory_field(&bytes);
        bytes[field..field + 8].copy_from_slice(&32u64.to_be_bytes());
        bytes[field + 8..field + 16].copy_from_slice(&l1.to_be_bytes());
        // The first entry of the table is where a table of bits is, behind the
        // end of the file, the next ones are a length and flags, a
        // granularity, and a name.
        let words = [
            0x2_0000_0000,
            0x1_0000_0002,
            0x0110_0008_0000_0000,
            0x6162_6364_6566_6768,
        ];
        for (number, word) in (0..).zip(words) {
            let at = l1 as usize + number * 8;
            bytes[at..at + 8].copy_from_slice(&u64::to_be_bytes(word));
        }
        std::fs::write(&path, &bytes).expect("written");
        let refused = open(bql, &path, false).expect_err("it would overwrite the table");
        let refused = refused.to_string();
        assert!(
            refused.contains("overlaps with active L1 table"),
            "{refused}"
        );
        end(bql);
        let after = std::fs::read(&path).expect("read");
        let table = l1 as usize..l1 as usize + 32;
        assert_eq!(after[table.clone()], bytes[table]);
    });
}

/// A short file must not take all memory there is.
#[test]
fn bitmaps_have_no_more_clusters_than_the_file() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        let node = {
            qemu_img.succeed(["create", "-q", "-f", "qcow2", text(&path), "32G"]);
            qemu_img.succeed(["bitmap", "--add", "-g", "512", text(&path), "b"]);
            open(bql, &path, false).expect("opened")
        };
        let disk = disk(bql, &node);
        write(bql, &disk, 0, &[1; 1 << 20]).expect("written");
        drop((disk, node));
        end(bql);
        let mut bytes = std::fs::read(&path).expect("read");
        let field = directory_field(&bytes);
        let word = |bytes: &[u8], at: usize| {
            u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight")) as usize
        };
        let table = word(&bytes, word(&bytes, field + 8));
        let part = bytes[table..table + 8].to_vec();
        assert_ne!(part, [0; 8]);
        for at in (table..table + 128 * 8).step_by(8) {
            bytes[at..at + 8].copy_from_slice(&part);
        }
        std::fs::write(&path, &bytes).expect("written");
        let refused = open(bql, &path, true).expect_err("they are not all there");
        let refused = refused.to_string();
        assert!(refused.contains("more clusters than the file"), "{refused}");
    });
}

#[test]
fn a_bitmap_that_does_not_hold_goes_when_another_process_removes_it() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        qemu_img.succeed(["create", "-q", "-f", "qcow2", text(&path), "1M"]);
        for name in ["broken", "whole"] {
            qemu_img.succeed(["bitmap", "--add", text(&path), name]);
        }
        let mut bytes = std::fs::read(&path).expect("read");
        let mut windows = bytes.windows(6);
        let at = windows.rposition(|window| window == b"broken");
        bytes[at.expect("the directory") - 24 + 15] |= 1;
        std::fs::write(&path, bytes).expect("written");
        let node = open(bql, &path, false).expect("opened");
        let names = |bql: &BqlGuard, node: &Node| -> Vec<String> {
            let all = node.bitmaps(bql).map(|view| view.name().to_owned());
            let mut all: Vec<_> = all.collect();
            all.sort();
            all
        };
        assert_eq!(names(bql, &node), ["broken", "whole"]);
        node.inactivate(bql).expect("given away");
        qemu_img.succeed(["bitmap", "--remove", text(&path), "broken"]);
        node.activate(bql).expect("taken back");
        assert_eq!(names(bql, &node), ["whole"]);
        // Nothing keeps the image from being resized any more.
        let disk = resizable(bql, &node);
        resize(bql, &disk, 2 << 20);
    });
}

#[test]
fn an_image_without_a_byte_keeps_its_bitmaps() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        qemu_img.succeed(["create", "-q", "-f", "qcow2", text(&path), "1M"]);
        qemu_img.succeed(["bitmap", "--add", text(&path), "b"]);
        let node = open(bql, &path, false).expect("opened");
        let disk = resizable(bql, &node);
        resize(bql, &disk, 0);
        drop((disk, node));
        end(bql);
        for _ in 0..2 {
            let node = open(bql, &path, false).expect("opened again");
            assert_eq!(node.bitmaps(bql).count(), 1);
            let disk = resizable(bql, &node);
            resize(bql, &disk, 1 << 20);
            drop((disk, node));
            end(bql);
        }
        qemu_img.succeed(["check", "-q", text(&path)]);
    });
}

/// Opens an image with a raw data file.
fn open_with_data(bql: &mut BqlGuard, path: &Path, data: &Path) -> Node {
    let file = File::new(path).open(bql, "").expect("opened");
    let image = Qcow2Image::read(bql, &file).expect("an image");
    let data = File::new(data).open(bql, "").expect("opened");
    let unmap = NodeOptions {
        unmap: true,
        ..Default::default()
    };
    let image = image.data_file(&data).options(unmap);
    image.open(bql, "").expect("opened")
}

#[test]
fn a_raw_data_file_takes_no_room_for_what_is_new() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        let data = directory.path().join("data");
        let options = CreateOptions {
            data_file: Some("data".into()),
            data_file_raw: true,
            ..CreateOptions::new(100 << 10)
        };
        create(bql, &path, &options);
        let node = open_with_data(bql, &path, &data);
        let disk = resizable(bql, &node);
        bql.block_on(
            disk.root()
                .write_zeroes(64 << 10, 36 << 10, Default::default()),
        )
        .expect("zeroed");
        write(bql, &disk, 70 << 10, &[1; 512]).expect("written");
        resize(bql, &disk, 64 << 20 | 512);
        let taken =
            std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&data).expect("there"));
        assert!(taken * 512 < 1 << 20, "{taken} sectors");
        let seen = read(bql, &disk, 0, 1 << 20).expect("read");
        assert!(seen[70 << 10..][..512].iter().all(|byte| *byte == 1));
        assert!(is_zero(&seen[..70 << 10]) && is_zero(&seen[(70 << 10) + 512..]));
        let raw = std::fs::read(&data).expect("read");
        assert!(raw[..1 << 20] == seen);
    });
}

#[test]
fn an_image_that_was_made_older_gets_no_bitmaps_back() {
    let Some(qemu_img) = Tool::find("qemu-img") else {
        return;
    };
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        qemu_img.succeed(["create", "-q", "-f", "qcow2", text(&path), "1M"]);
        qemu_img.succeed(["bitmap", "--add", text(&path), "b"]);
        let node = open(bql, &path, false).expect("opened");
        let options = Value::map([("compat", "0.10".into())]);
        let amended = node.drain(bql).amend_options(&options, false);
        amended.expect("amended");
        // It would be stored now.
        drop(node);
        end(bql);
        qemu_img.succeed(["check", "-q", text(&path)]);
        let bytes = std::fs::read(&path).expect("read");
        assert_eq!(bytes[4..8], [0, 0, 0, 2]);
        let kind = 0x2385_2875u32.to_be_bytes();
        assert!(bytes[..4096].windows(4).all(|window| window != kind));
    });
}
