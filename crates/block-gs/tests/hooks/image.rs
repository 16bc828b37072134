//! Images as a whole: their files, what drivers know of them, and emptying.

use std::sync::atomic::Ordering;

use block_common::error::errno;
use block_gs::{BqlGuard, GraphError, Node, NodeView, Role, Value};
use block_io::{IoError, Request};

use crate::common::{Mem, above, backend, filter, in_layer, node};
use crate::drive::{Drive, ask, open};

#[test]
fn the_file_of_an_image_is_deleted_by_its_driver_and_by_no_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("image");
    std::fs::write(&path, "").expect("written");
    in_layer(|bql| {
        let mut drive = Drive::of(512);
        drive.path = Some(path.clone());
        let (file, _) = open(bql, "file", drive, None);
        let (over, _) =
            above(bql, "over", Mem::of(512), "file", &file, Role::IMAGE).expect("an image");
        let delete = async |request: Request<'_>| request.delete_file().await;
        // An image in several files cannot be deleted by one of them.
        let refused = ask(bql, &over, delete);
        assert!(matches!(refused, Err(IoError::NotSupported)));
        assert!(path.exists());
        ask(bql, &file, delete).expect("deleted");
        assert!(!path.exists());
        let gone = ask(bql, &file, delete).expect_err("twice");
        assert_eq!(gone.errno(), errno::ENOENT);
    });
}

#[test]
fn what_is_kept_of_an_image_is_forgotten_when_another_process_may_have_changed_it() {
    in_layer(|bql| {
        let (disk, drive) = open(bql, "disk", Drive::of(512), None);
        let (image, over) = open(bql, "image", Drive::of(0), Some(&disk));
        let forget = async |request: Request<'_>| request.invalidate_cache().await;
        ask(bql, &image, forget).expect("forgotten");
        assert_eq!((over.asked().len(), drive.asked().len()), (1, 0));
        // A node that comes back asks its driver, from below.
        image.inactivate(bql).expect("nobody minds");
        drive.fails.store(errno::EIO, Ordering::Relaxed);
        let refused = image.activate(bql).expect_err("the file refuses");
        assert_eq!(refused.errno(), errno::EIO);
        assert_eq!((over.asked().len(), drive.asked().len()), (0, 1));
        assert!(image.view(bql).is_inactive() && disk.view(bql).is_inactive());
        drive.fails.store(0, Ordering::Relaxed);
        image.activate(bql).expect("nobody minds");
        assert_eq!(
            (over.asked(), drive.asked()),
            (vec!["forget".into()], vec!["forget".into()])
        );
    });
}

#[test]
fn what_only_a_driver_knows_is_shown_as_it_says() {
    in_layer(|bql| {
        let (disk, _) = open(bql, "disk", Drive::zoned(4), None);
        let (plain, _) = node(bql, "plain", Mem::of(512));
        let (above_disk, _) = filter(bql, "above", &disk);
        let zones = Value::map([("zones", 4u64.into())]);
        let view: NodeView<'_> = disk.view(bql);
        assert_eq!(view.driver().specific_info(bql), Some(zones.clone()));
        assert_eq!(view.info(bql).specific, Some(zones));
        // Of a filter's child users ask by its own name.
        for node in [&above_disk, &plain] {
            assert_eq!(node.view(bql).info(bql).specific, None);
        }
        let counted = |bql: &BqlGuard, node: &Node| {
            let stats = NodeView::specific_stats(node.view(bql), bql)?;
            Some(stats.get("asked").cloned())
        };
        assert_eq!(counted(bql, &disk), Some(Some(0u64.into())));
        let eject = async |request: Request<'_>| request.eject(true).await;
        ask(bql, &disk, eject).expect("open");
        assert_eq!(counted(bql, &disk), Some(Some(1u64.into())));
        assert_eq!(counted(bql, &above_disk), None);
    });
}

#[test]
fn an_image_is_measured_by_length_or_by_what_is_to_be_copied() {
    in_layer(|bql| {
        let (disk, _) = open(bql, "disk", Drive::of(512), None);
        let (input, _) = node(bql, "input", Mem::of(5000));
        let view: NodeView<'_> = disk.view(bql);
        let full = |length, input| {
            let measured = view.measure(bql, length, input).expect("measured");
            assert_eq!((measured.required, measured.bitmaps), (1024, None));
            measured.fully_allocated
        };
        assert_eq!(full(0, None), 1024);
        assert_eq!(full(1025, None), 3072);
        assert_eq!(full(1, Some(input.view(bql))), 5120 + 1024);
        let huge = view.measure(bql, 1 << 41, None).expect_err("too much");
        assert_eq!(huge.errno(), errno::ENOSPC);
        let none = NodeView::measure(input.view(bql), bql, 1, None).expect_err("no image");
        assert_eq!(none.errno(), errno::ENOTSUP);
    });
}

#[test]
fn compressed_writes_need_every_filter_on_their_way() {
    in_layer(|bql| {
        let mut squeezing = Drive::of(512);
        squeezing.compresses = true;
        let (disk, _) = open(bql, "disk", squeezing, None);
        let (plain, _) = open(bql, "plain", Drive::of(512), None);
        let (hides, _) = filter(bql, "hides", &disk);
        let passes = block_drivers::Stats::over(&disk).open(bql, "passes");
        let passes = passes.expect("opened");
        let over_plain = block_drivers::Stats::over(&plain).open(bql, "over-plain");
        let over_plain = over_plain.expect("opened");
        let can = [&disk, &passes, &plain, &hides, &over_plain].map(|node| {
            let view: NodeView<'_> = node.view(bql);
            view.supports_compressed_writes()
        });
        assert_eq!(can, [true, true, false, false, false]);
        for (node, can) in [&disk, &passes, &plain, &hides, &over_plain]
            .into_iter()
            .zip(can)
        {
            let requests_can = async |request: Request<'_>| request.supports_compressed_writes();
            assert_eq!(ask(bql, node, requests_can), can, "{}", node.name());
        }
    });
}

#[test]
fn the_directory_is_that_of_the_first_who_says_one() {
    in_layer(|bql| {
        let mut drive = Drive::of(512);
        drive.path = Some("/images/disk".into());
        let (disk, _) = open(bql, "disk", drive, None);
        let (image, _) = open(bql, "image", Drive::of(0), Some(&disk));
        let mut elsewhere = Drive::of(0);
        elsewhere.directory = Some("nbd://host/".into());
        let (moved, _) = open(bql, "moved", elsewhere, Some(&disk));
        let (over, _) = open(bql, "over", Drive::of(0), Some(&moved));
        let (nameless, _) = open(bql, "nameless", Drive::of(512), None);
        let directory = |node: &Node| NodeView::dirname(node.view(bql), bql);
        for node in [&disk, &image] {
            assert_eq!(directory(node).expect("known"), "/images/");
        }
        for node in [&moved, &over] {
            assert_eq!(directory(node).expect("known"), "nbd://host/");
        }
        assert_eq!(
            directory(&nameless).expect_err("nobody knows").to_string(),
            "Cannot generate a base directory for drive nodes"
        );
    });
}

#[test]
fn a_copy_may_replace_what_is_shown_unchanged_by_all_between() {
    in_layer(|bql| {
        let (one, _) = node(bql, "one", Mem::of(512));
        let (two, _) = node(bql, "two", Mem::of(512));
        let (below, _) = filter(bql, "below", &two);
        let mut mirror = Drive::of(0);
        mirror.mirrors = true;
        let (quorum, _) = open(bql, "quorum", mirror, Some(&one));
        let attached = quorum.drain(bql).attach_child("second", &below, Role::DATA);
        attached.expect("attached");
        let (top, _) = filter(bql, "top", &quorum);
        let (image, _) = open(bql, "image", Drive::of(0), Some(&two));
        let view: NodeView<'_> = top.view(bql);
        for shown in [&top, &quorum, &one, &below, &two] {
            assert!(view.can_replace(bql, shown.view(bql)), "{}", shown.name());
        }
        assert!(!view.can_replace(bql, image.view(bql)));
        // A format is not what its file is, and nobody looks upwards.
        for (from, other) in [(&image, &two), (&below, &top), (&one, &two)] {
            let view: NodeView<'_> = from.view(bql);
            assert!(!view.can_replace(bql, other.view(bql)), "{}", from.name());
        }
    });
}

#[test]
fn an_image_is_emptied_by_its_driver_while_nobody_reads() {
    in_layer(|bql| {
        let (disk, drive) = open(bql, "disk", Drive::of(512), None);
        drive.bytes.lock().expect("no panic").fill(7);
        let mut drained = disk.drain(bql);
        let refused = drained.make_empty().expect_err("nobody above may write");
        assert!(matches!(refused, GraphError::ReadOnly));
        assert_eq!(drive.asked(), [""; 0]);
        drop(drained);
        let _front = backend(bql, "front", &disk);
        let mut drained = disk.drain(bql);
        drained.make_empty().expect("emptied");
        assert_eq!(drive.asked(), ["empty"]);
        assert_eq!(*drive.bytes.lock().expect("no panic"), [0; 512]);
        drive.bytes.lock().expect("no panic").fill(7);
        drive.fails.store(errno::ENOSPC, Ordering::Relaxed);
        let failed = drained.make_empty().expect_err("it fails");
        assert_eq!(failed.errno(), errno::ENOSPC);
        assert_eq!(*drive.bytes.lock().expect("no panic"), [7; 512]);
    });
}
