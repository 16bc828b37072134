//! Bitmaps that are kept with the image, other options for an image in use,
//! and changes of what it says about itself.

use block_common::Value;
use block_drivers::File;
use block_gs::{BqlGuard, Node, NodeOptions, Perm, ReopenOptions};
use block_qcow2::{CreateOptions, Qcow2Image, Qcow2Options};

use crate::support::{
    Tool, assert_sound, at_a_path, backend, beside_qemu_img, close, create, disk, open, pattern,
    qemu_reads, read, turn, write,
};

fn dirty(bql: &BqlGuard, node: &Node, name: &str) -> Option<(u64, bool, bool)> {
    let view = node.bitmaps(bql).find(|view| view.name() == name)?;
    let info = view.info();
    Some((info.count, view.is_inconsistent(), view.is_enabled()))
}

#[test]
fn bitmaps_of_qemu_go_on_noting_writes() {
    let (Some(qemu_img), Some(qemu_io)) = (Tool::find("qemu-img"), Tool::find("qemu-io")) else {
        return;
    };
    at_a_path(|bql, path| {
        let text = path.to_str().expect("text");
        qemu_img.succeed(["create", "-q", "-f", "qcow2", text, "64M"]);
        qemu_img.succeed(["bitmap", "--add", "-g", "64k", text, "one"]);
        qemu_img.succeed(["bitmap", "--add", "--disable", text, "two"]);
        qemu_io.succeed(["-c", "write 0 128k", text]);
        let node = open(bql, path, false).expect("opened");
        assert_eq!(dirty(bql, &node, "one"), Some((128 << 10, false, true)));
        assert_eq!(dirty(bql, &node, "two"), Some((0, false, false)));
        let info = qemu_img.succeed(["info", "-U", text]);
        assert!(info.contains("in-use"), "{info}");
        let disk = disk(bql, &node);
        write(bql, &disk, 1 << 20, &[1; 4096]).expect("written");
        close(bql, (disk, node));
        assert_sound(&qemu_img, path);
        let info = qemu_img.succeed(["info", text]);
        assert!(
            !info.contains("in-use") && info.contains("name: one"),
            "{info}"
        );
        let node = open(bql, path, true).expect("opened");
        assert_eq!(dirty(bql, &node, "one"), Some((192 << 10, false, true)));
        close(bql, node);
        qemu_img.succeed(["bitmap", "--remove", text, "one"]);
        assert_sound(&qemu_img, path);
    });
}

#[test]
fn an_image_is_reopened_for_reading_and_for_writing() {
    beside_qemu_img(|bql, path, qemu_img| {
        create(bql, path, &CreateOptions::new(4 << 20));
        let node = open(bql, path, false).expect("opened");
        {
            let disk = disk(bql, &node);
            write(bql, &disk, 0, &[3; 100_000]).expect("written");
        }
        turn(bql);
        let to = |read_only| NodeOptions {
            read_only,
            ..NodeOptions::default()
        };
        node.drain(bql)
            .reopen(ReopenOptions::new(to(true)))
            .expect("for reading");
        assert_sound(qemu_img, path);
        let reader = backend(bql, &node, Perm::CONSISTENT_READ).expect("a reader");
        assert!(
            read(bql, &reader, 0, 100_000)
                .expect("read")
                .iter()
                .all(|byte| *byte == 3)
        );
        let wrong = Qcow2Options {
            l2_cache_entry_size: Some(1000),
            ..Default::default()
        };
        let refused = node
            .drain(bql)
            .reopen(ReopenOptions::new(to(false)).settings(wrong));
        assert!(
            refused
                .expect_err("no power of two")
                .to_string()
                .contains("power of two")
        );
        let right = Qcow2Options {
            discard_no_unref: Some(true),
            ..Default::default()
        };
        node.drain(bql)
            .reopen(ReopenOptions::new(to(false)).settings(right))
            .expect("for writing");
        let disk = disk(bql, &node);
        write(bql, &disk, 1 << 20, &[4; 100_000]).expect("written");
        close(bql, (disk, reader, node));
        assert_sound(qemu_img, path);
    });
}

/// Who only reads keeps no more of the table of counts than there is.
#[test]
fn an_image_that_was_read_first_keeps_its_table_of_counts_when_it_is_written() {
    beside_qemu_img(|bql, path, qemu_img| {
        let mut options = CreateOptions::new(4 << 20);
        options.cluster_size = 512;
        create(bql, path, &options);
        let table = || std::fs::read(path).expect("there")[48..60].to_vec();
        let before = table();
        let file = File::new(path).open(bql, "").expect("opened");
        let image = Qcow2Image::read(bql, &file).expect("read");
        let node = image.read_only(true).open(bql, "").expect("opened");
        node.drain(bql)
            .reopen(ReopenOptions::new(NodeOptions::default()))
            .expect("for writing");
        let disk = disk(bql, &node);
        // This takes a dozen blocks of counts.
        let bytes = pattern(1 << 20, 9);
        write(bql, &disk, 1 << 20, &bytes).expect("written");
        close(bql, (disk, node, file));
        assert_sound(qemu_img, path);
        assert_eq!(table(), before, "it is where it was");
        let all = qemu_reads(qemu_img, path);
        assert!(all[1 << 20..2 << 20] == bytes);
    });
}

fn amend(
    bql: &mut BqlGuard,
    node: &Node,
    options: &[(&str, &str)],
) -> Result<(), block_gs::GraphError> {
    let options = Value::map(
        options
            .iter()
            .map(|(key, value)| (*key, Value::from(*value))),
    );
    node.drain(bql).amend_options(&options, false)
}

#[test]
fn images_change_what_they_say() {
    beside_qemu_img(|bql, path, qemu_img| {
        let text = path.to_str().expect("text");
        create(
            bql,
            path,
            &CreateOptions {
                version: 2,
                ..CreateOptions::new(4 << 20)
            },
        );
        let node = open(bql, path, false).expect("opened");
        let mut model = pattern(1 << 20, 8);
        {
            let disk = disk(bql, &node);
            write(bql, &disk, 0, &model).expect("written");
        }
        model.resize(4 << 20, 0);
        amend(bql, &node, &[("lazy_refcounts", "on")])
            .expect_err("too old")
            .errno();
        amend(bql, &node, &[("compat", "1.1"), ("lazy_refcounts", "on")]).expect("amended");
        close(bql, node);
        let info = qemu_img.succeed(["info", text]);
        assert!(
            info.contains("compat: 1.1") && info.contains("lazy refcounts: true"),
            "{info}"
        );
        assert_sound(qemu_img, path);
        let node = open(bql, path, false).expect("opened");
        {
            let disk = disk(bql, &node);
            let zeroes = block_io::WriteFlags::empty();
            crate::support::zero(bql, &disk, 65536, 65536, zeroes).expect("zeroed");
            crate::support::zero(bql, &disk, 3 << 20, 65536, zeroes).expect("zeroed");
            model[65536..131_072].fill(0);
        }
        amend(bql, &node, &[("compat", "0.10")]).expect("amended");
        amend(bql, &node, &[("cluster_size", "4096")])
            .expect_err("never")
            .errno();
        close(bql, node);
        let info = qemu_img.succeed(["info", text]);
        assert!(info.contains("compat: 0.10"), "{info}");
        assert_sound(qemu_img, path);
        assert!(qemu_reads(qemu_img, path) == model);
    });
}
