//! What users may do with bitmaps, and what they are told.

use std::sync::atomic::Ordering;

use block_common::bitmap::HBitmap;
use block_common::error::errno;
use block_gs::{BitmapOptions, BqlGuard, DirtyBitmap};

use crate::common::in_layer;
use crate::support::{Disk, KIB, MIB, add, areas, front, of_granularity, open, said, write};

#[test]
fn what_users_may_not_ask_for_is_refused_in_qemus_words() {
    in_layer(|bql| {
        let (disk, driver) = open(bql, "disk", Disk::of(MIB));
        let any = BitmapOptions::default;
        assert_eq!(
            said(disk.add_bitmap(bql, "", any())),
            "Bitmap name cannot be empty"
        );
        for granularity in [0, 100, 256, 513] {
            assert_eq!(
                said(disk.add_bitmap(bql, "b", of_granularity(granularity))),
                "Granularity must be power of 2 and at least 512"
            );
        }
        let long = "n".repeat(1024);
        assert_eq!(
            said(disk.add_bitmap(bql, &long, any())),
            format!("Bitmap name too long: {long}")
        );
        assert!(!disk.io().flags().contains(block_io::NodeFlags::RECORDED));
        disk.add_bitmap(bql, &long[1..], any()).expect("it fits");
        disk.add_bitmap(bql, "b", any()).expect("a bitmap");
        assert_eq!(
            said(disk.add_bitmap(bql, "b", any())),
            "Bitmap already exists: b"
        );
        let kept = BitmapOptions {
            persistent: true,
            ..any()
        };
        let words = |node: &str| {
            format!("Can't store persistent bitmaps to {node}: Operation not supported")
        };
        let error = disk.add_bitmap(bql, "p", kept).expect_err("a plain disk");
        assert_eq!(error.to_string(), words("disk"));
        assert_eq!(error.errno(), errno::ENOTSUP);
        let _front = front(bql, &disk);
        assert_eq!(said(disk.add_bitmap(bql, "p", kept)), words("disk-front"));

        driver.loses_length.store(true, Ordering::Relaxed);
        let refused = disk.add_bitmap(bql, "l", any());
        let words = "could not get length of device: Input/output error";
        assert_eq!(said(refused), words);
        driver.loses_length.store(false, Ordering::Relaxed);

        let lookup = |bql: &BqlGuard, node: &str, name: &str| DirtyBitmap::lookup(bql, node, name);
        assert_eq!(said(lookup(bql, "zz", "b")), "Node 'zz' not found");
        assert_eq!(
            said(lookup(bql, "disk", "zz")),
            "Dirty bitmap 'zz' not found"
        );
        assert!(lookup(bql, "disk-front", "b").is_ok());
        let names: Vec<_> = disk.bitmaps(bql).map(|view| view.name().len()).collect();
        assert_eq!(names, [1, 1023], "newest first");
    });
}

#[test]
fn the_granularity_is_that_of_the_image() {
    in_layer(|bql| {
        for (cluster, granularity) in [(1, 65536), (512, 4096), (16384, 16384), (1 << 21, 65536)] {
            let name = format!("disk{cluster}");
            let image = Disk {
                cluster,
                ..Disk::of(MIB)
            };
            let (disk, _) = open(bql, &name, image);
            let bitmap = disk.add_bitmap(bql, "b", BitmapOptions::default());
            let info = bitmap.expect("a bitmap").view(bql).expect("there").info();
            assert_eq!(info.granularity, granularity);
            assert!(info.recording && !info.busy && !info.persistent && !info.inconsistent);
        }
    });
}

#[test]
fn clearing_and_merging_can_be_undone() {
    in_layer(|bql| {
        let (disk, _) = open(bql, "disk", Disk::of(MIB));
        let (other, _) = open(bql, "other", Disk::of(MIB));
        let (short, _) = open(bql, "short", Disk::of(MIB / 2));
        let (front, back) = (front(bql, &disk), front(bql, &other));
        let bitmap: DirtyBitmap = add(bql, &disk, "b", 512);
        let coarse: DirtyBitmap = add(bql, &other, "coarse", 65536);
        let wrong = add(bql, &short, "wrong", 512);
        write(bql, &front, 0, 512).expect("written");
        write(bql, &back, 70 * KIB, 512).expect("written");

        let before = bitmap.clear(bql).expect("cleared");
        assert_eq!(areas(bql, &bitmap), []);
        bitmap.restore(bql, before).expect("restored");
        assert_eq!(areas(bql, &bitmap), [(0, 512)]);

        let sources = [coarse.clone(), bitmap.clone()];
        let before = bitmap.merge(bql, &sources).expect("merged");
        assert_eq!(areas(bql, &bitmap), [(0, 512), (64 * KIB, 128 * KIB)]);
        assert_eq!(areas(bql, &coarse), [(64 * KIB, 128 * KIB)]);
        bitmap.restore(bql, before).expect("restored");
        assert_eq!(areas(bql, &bitmap), [(0, 512)]);
        coarse
            .merge(bql, std::slice::from_ref(&bitmap))
            .expect("merged");
        assert_eq!(areas(bql, &coarse), [(0, 128 * KIB)]);

        // All of them or none.
        let sources = [coarse, wrong];
        assert_eq!(
            said(bitmap.merge(bql, &sources)),
            "Bitmaps are of different sizes (destination size is 1048576, source size is 524288) \
             and can't be merged"
        );
        assert_eq!(areas(bql, &bitmap), [(0, 512)]);
        bitmap.merge(bql, &[]).expect("nothing to do");
        let mut left = HBitmap::new(MIB, 9).expect("a bitmap");
        left.set(MIB - 1..MIB);
        bitmap.merge_contents(bql, left).expect("merged");
        assert_eq!(areas(bql, &bitmap), [(0, 512), (MIB - 512, MIB)]);
        // From another process, say, and of another length.
        let mut arrived = HBitmap::new(2 * MIB, 9).expect("a bitmap");
        arrived.set(MIB / 2..2 * MIB);
        bitmap.restore(bql, arrived.into()).expect("restored");
        assert_eq!(areas(bql, &bitmap), [(MIB / 2, MIB)]);
    });
}

#[test]
fn a_busy_bitmap_is_left_alone() {
    in_layer(|bql| {
        let (disk, _) = open(bql, "disk", Disk::of(MIB));
        let [bitmap, other]: [DirtyBitmap; 2] =
            ["b", "other"].map(|name| add(bql, &disk, name, 512));
        let busy = "Bitmap 'b' is currently in use by another operation and cannot be used";
        let check = |bql: &mut BqlGuard| {
            assert_eq!(said(bitmap.remove(bql)), busy);
            assert_eq!(said(bitmap.clear(bql)), busy);
            assert_eq!(said(bitmap.enable(bql)), busy);
            assert_eq!(said(bitmap.disable(bql)), busy);
            assert_eq!(said(bitmap.reader(bql)), busy);
            assert_eq!(said(bitmap.merge(bql, std::slice::from_ref(&other))), busy);
            assert_eq!(said(other.merge(bql, std::slice::from_ref(&bitmap))), busy);
            assert_eq!(
                said(bitmap.freeze(bql)),
                "Cannot create a successor for a bitmap that is in-use by an operation"
            );
            assert!(bitmap.view(bql).expect("there").info().busy);
        };
        let reader = bitmap.reader(bql).expect("not busy");
        let second = reader.clone();
        check(bql);
        drop(reader);
        check(bql);
        // It may end anywhere.
        std::thread::spawn(move || drop(second))
            .join()
            .expect("dropped");
        let frozen = bitmap.freeze(bql).expect("not busy");
        check(bql);
        drop(frozen);
        bitmap.remove(bql).expect("not busy");
        assert_eq!(said(bitmap.clear(bql)), "Dirty bitmap 'b' not found");
        assert_eq!(said(bitmap.remove(bql)), "Dirty bitmap 'b' not found");
        assert!(disk.find_bitmap(bql, "b").is_none());
        let again = add(bql, &disk, "b", 512);
        assert_ne!(again, bitmap, "another one of the same name");
        assert!(bitmap.view(bql).is_err());
    });
}
