//! Bitmaps that are kept with the image.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use block_common::error::errno;
use block_gs::{BitmapOptions, BitmapUse, StoredState};
use block_io::dirty::StoredBitmap;

use crate::common::{in_layer, spin_until};
use crate::support::{Disk, MIB, add, areas, front, of_granularity, open, said, write};

#[test]
fn a_read_only_bitmap_keeps_its_node_from_being_written() {
    in_layer(|bql| {
        let (disk, _) = open(bql, "disk", Disk::of(MIB));
        let front = front(bql, &disk);
        let bitmap = add(bql, &disk, "b", 512);
        bitmap.set_read_only(bql, true).expect("there");
        let words = "Bitmap 'b' is readonly and cannot be modified";
        assert_eq!(said(bitmap.clear(bql)), words);
        assert_eq!(said(bitmap.remove(bql)), words);
        assert_eq!(said(bitmap.merge(bql, &[])), words);
        bitmap.check(bql, BitmapUse::Read).expect("may be read");
        let root = front.root().clone();
        let refused = write(bql, &front, 0, 512).expect_err("not written");
        assert_eq!(refused.errno(), errno::EPERM);
        let refused = bql
            .block_on(root.discard(0, 512))
            .expect_err("not discarded");
        assert_eq!(refused.errno(), errno::EPERM);
        bitmap.set_read_only(bql, false).expect("there");
        write(bql, &front, 0, 512).expect("written");
        assert_eq!(areas(bql, &bitmap), [(0, 512)]);
    });
}

#[test]
fn an_inconsistent_bitmap_can_only_be_removed() {
    in_layer(|bql| {
        let (disk, _) = open(bql, "disk", Disk::of(MIB));
        let front = front(bql, &disk);
        let (bitmap, other) = (add(bql, &disk, "b", 512), add(bql, &disk, "other", 512));
        bitmap.set_inconsistent(bql).expect("there");
        let error = bitmap.enable(bql).expect_err("worth nothing");
        assert_eq!(
            error.to_string(),
            "Bitmap 'b' is inconsistent and cannot be used"
        );
        let hint = "Try block-dirty-bitmap-remove to delete this bitmap from disk";
        assert_eq!(error.hint(), Some(hint));
        assert!(other.merge(bql, std::slice::from_ref(&bitmap)).is_err());
        assert!(bitmap.reader(bql).is_err() && bitmap.freeze(bql).is_err());
        write(bql, &front, 0, 512).expect("written");
        let info = bitmap.view(bql).expect("there").info();
        assert!(info.inconsistent && !info.recording && info.count == 0);
        bitmap.remove(bql).expect("removed");
    });
}

#[test]
fn an_image_is_asked_whether_it_has_room_before_there_is_a_bitmap() {
    in_layer(|bql| {
        let image = Disk {
            keeps_bitmaps: true,
            ..Disk::of(MIB)
        };
        let (disk, driver) = open(bql, "disk", image);
        let front = front(bql, &disk);
        let persistent = BitmapOptions {
            persistent: true,
            ..of_granularity(4096)
        };
        driver.full.store(true, Ordering::Relaxed);
        let mut drained = disk.drain(bql);
        let refused = drained.add_bitmap("p", persistent);
        assert_eq!(
            said(refused),
            "Can't make bitmap 'p' persistent in 'disk-front': There is no room for 'p'"
        );
        assert!(disk.find_bitmap(&drained, "p").is_none());
        // One that is not kept needs no room, and a bad one is not asked for.
        let temporary = drained.add_bitmap("t", of_granularity(512));
        let temporary = temporary.expect("a bitmap");
        let odd = BitmapOptions {
            granularity: Some(1000),
            ..persistent
        };
        assert!(drained.add_bitmap("odd", odd).is_err());
        assert!(drained.add_bitmap("t", persistent).is_err(), "it is there");
        driver.full.store(false, Ordering::Relaxed);
        let kept = drained.add_bitmap("p", persistent).expect("room");
        drop(drained);
        let asked = driver.asked.lock().expect("no panic").clone();
        assert_eq!(asked, [("p".to_owned(), 4096), ("p".to_owned(), 4096)]);
        // Both note from the end of the section on.
        write(bql, &front, 4096, 512).expect("written");
        assert_eq!(areas(bql, &temporary), [(4096, 4608)]);
        assert_eq!(areas(bql, &kept), [(4096, 8192)]);
        assert!(kept.view(bql).expect("there").is_persistent());
        assert!(!temporary.view(bql).expect("there").is_persistent());
    });
}

#[test]
fn bitmaps_are_kept_with_an_image_that_can_keep_them() {
    in_layer(|bql| {
        let image = Disk {
            keeps_bitmaps: true,
            ..Disk::of(MIB)
        };
        let kept = Arc::clone(&image.kept);
        let (disk, driver) = open(bql, "disk", image);
        let front = front(bql, &disk);
        let persistent = BitmapOptions {
            persistent: true,
            ..of_granularity(512)
        };
        driver.full.store(true, Ordering::Relaxed);
        let refused = disk.add_bitmap(bql, "p", persistent);
        assert_eq!(
            said(refused),
            "Can't make bitmap 'p' persistent in 'disk-front': There is no room for 'p'"
        );
        driver.full.store(false, Ordering::Relaxed);
        let [p, q, off, skipped] = ["p", "q", "off", "skipped"]
            .map(|name| disk.add_bitmap(bql, name, persistent).expect("room"));
        let refused = disk.add_bitmap(bql, "p", persistent);
        assert_eq!(said(refused), "Bitmap already exists: p");
        add(bql, &disk, "temporary", 512);
        write(bql, &front, 4096, 512).expect("written");
        off.disable(bql).expect("disabled");
        skipped.set_skip_store(bql, true).expect("there");
        disk.store_bitmaps(bql).expect("stored");
        let names = || {
            let kept = kept.lock().expect("no panic");
            kept.iter()
                .map(|stored| (stored.name.clone(), stored.enabled))
                .collect::<Vec<_>>()
        };
        let all = [("off", false), ("q", true), ("p", true)];
        assert_eq!(names(), all.map(|(name, on)| (name.to_owned(), on)));
        let stored = kept.lock().expect("no panic")[2].contents.clone();
        assert_eq!(stored.next_dirty_area(0..MIB, MIB), Some(4096..4608));
        assert_eq!(stored.count(), 512);

        driver.fails.store(true, Ordering::Relaxed);
        assert!(q.remove(bql).is_err());
        assert!(disk.find_bitmap(bql, "q").is_some());
        let lost = "Lost persistent bitmaps during inactivation of node 'disk': Input/output error";
        assert_eq!(said(disk.store_bitmaps(bql)), lost);
        driver.fails.store(false, Ordering::Relaxed);
        q.remove(bql).expect("removed");
        assert_eq!(names().len(), 2);

        // Closing the node stores them, without the one that has gone.
        kept.lock().expect("no panic").clear();
        off.set_persistent(bql, false).expect("there");
        drop((front, p, q, off, skipped, disk, driver));
        spin_until(bql, || !kept.lock().expect("no panic").is_empty());
        assert_eq!(names(), [("p".to_owned(), true)]);

        // And they come back.
        let stored = kept.lock().expect("no panic").remove(0);
        let (again, _) = open(bql, "again", Disk::of(MIB));
        let broken = StoredState {
            inconsistent: true,
            ..StoredState::default()
        };
        let other = StoredBitmap {
            name: "broken".into(),
            ..stored.clone()
        };
        let mut section = again.drain(bql);
        let bitmap = section.add_stored_bitmap(stored, StoredState::default());
        let bitmap = bitmap.expect("a bitmap");
        section.add_stored_bitmap(other, broken).expect("a bitmap");
        drop(section);
        assert_eq!(areas(bql, &bitmap), [(4096, 4608)]);
        let infos: Vec<_> = again.bitmaps(bql).map(|view| view.info()).collect();
        let flags = |i: usize| {
            (
                infos[i].persistent,
                infos[i].recording,
                infos[i].inconsistent,
            )
        };
        assert_eq!(flags(1), (true, true, false));
        assert_eq!(flags(0), (true, false, true));
    });
}

#[test]
fn what_is_stored_is_let_go_of_or_kept_as_it_is_all_at_once() {
    in_layer(|bql| {
        let image = Disk {
            keeps_bitmaps: true,
            ..Disk::of(MIB)
        };
        let (disk, _) = open(bql, "disk", image);
        let front = front(bql, &disk);
        let persistent = BitmapOptions {
            persistent: true,
            ..of_granularity(512)
        };
        let names = ["p", "q", "read", "broken"];
        let [p, _, read, broken] =
            names.map(|name| disk.add_bitmap(bql, name, persistent).expect("room"));
        let temporary = add(bql, &disk, "temporary", 512);
        let mut section = disk.drain(bql);
        section.set_stored_bitmaps_read_only(true);
        let is_read_only = |bql: &block_gs::BqlGuard, bitmap: &block_gs::DirtyBitmap| {
            bitmap.view(bql).expect("there").is_read_only()
        };
        assert!(is_read_only(&section, &p) && !is_read_only(&section, &temporary));
        drop(section);
        let refused = write(bql, &front, 0, 512).expect_err("they must not change");
        assert_eq!(refused.errno(), errno::EPERM);
        disk.drain(bql).set_stored_bitmaps_read_only(false);
        write(bql, &front, 0, 512).expect("written");
        let reader = read.reader(bql).expect("a reader");
        broken.set_inconsistent(bql).expect("there");
        let mut section = disk.drain(bql);
        section.store_bitmaps().expect("stored");
        section.release_stored_bitmap("q");
        assert!(disk.find_bitmap(&section, "q").is_none());
        assert!(disk.find_bitmap(&section, "p").is_some());
        section.release_stored_bitmaps();
        // What is in use, worth nothing or not stored stays.
        let left: Vec<_> = disk.bitmaps(&section).map(|view| view.name()).collect();
        assert_eq!(left, ["temporary", "broken", "read"]);
        drop(section);
        drop(reader);
        assert_eq!(areas(bql, &temporary), [(0, 512)]);
    });
}
