//! Bitmaps that belong to a job for a while, or from the beginning.

use block_io::dirty::BitmapReader;

use crate::common::in_layer;
use crate::support::{Disk, KIB, MIB, add, areas, front, open, write};

#[test]
fn a_successor_takes_over_or_gives_back() {
    in_layer(|bql| {
        let (disk, _) = open(bql, "disk", Disk::of(MIB));
        let front = front(bql, &disk);
        let bitmap = add(bql, &disk, "b", 512);
        write(bql, &front, 0, 512).expect("written");

        let frozen = bitmap.freeze(bql).expect("not busy");
        let view = bitmap.view(bql).expect("there");
        assert!(view.is_frozen() && !view.is_enabled() && view.info().recording);
        write(bql, &front, 4096, 512).expect("written");
        let reader = frozen.reader();
        assert_eq!(reader.next_dirty_area(0..MIB, u64::MAX), Some(0..512));
        assert_eq!(reader.next_dirty(512..MIB), None);
        drop(reader);
        let bitmap = frozen.reclaim(bql);
        assert_eq!(areas(bql, &bitmap), [(0, 512), (4096, 4608)]);
        assert!(bitmap.view(bql).expect("there").is_enabled());

        let frozen = bitmap.freeze(bql).expect("not busy");
        write(bql, &front, 8192, 512).expect("written");
        let copied = frozen.snapshot();
        let bitmap = frozen.abdicate(bql);
        assert_eq!(areas(bql, &bitmap), [(8192, 8704)]);
        assert_eq!(copied.count(), 1024);
        write(bql, &front, 0, 512).expect("written");
        assert_eq!(areas(bql, &bitmap), [(0, 512), (8192, 8704)]);

        // Whoever was not enabled has a successor that is not.
        bitmap.disable(bql).expect("disabled");
        let frozen = bitmap.freeze(bql).expect("not busy");
        write(bql, &front, 16384, 512).expect("written");
        assert!(!bitmap.view(bql).expect("there").info().recording);
        frozen.enable_successor(bql);
        write(bql, &front, 20480, 512).expect("written");
        let bitmap = frozen.abdicate(bql);
        assert_eq!(areas(bql, &bitmap), [(20480, 20992)]);
        assert!(bitmap.view(bql).expect("there").is_enabled());
    });
}

#[test]
fn a_job_that_goes_away_gives_the_bitmap_back() {
    in_layer(|bql| {
        let (disk, _) = open(bql, "disk", Disk::of(MIB));
        let front = front(bql, &disk);
        let bitmap = add(bql, &disk, "b", 512);
        write(bql, &front, 0, 512).expect("written");
        let frozen = bitmap.freeze(bql).expect("not busy");
        write(bql, &front, 4096, 512).expect("written");
        std::thread::spawn(move || drop(frozen))
            .join()
            .expect("dropped");
        assert_eq!(areas(bql, &bitmap), [(0, 512), (4096, 4608)]);
        assert!(!bitmap.view(bql).expect("there").info().busy);
        write(bql, &front, 8192, 512).expect("written");
        assert_eq!(areas(bql, &bitmap).len(), 3);
    });
}

#[test]
fn a_tracker_is_its_owners_alone() {
    in_layer(|bql| {
        let (disk, _) = open(bql, "disk", Disk::of(MIB));
        let front = front(bql, &disk);
        assert!(disk.track_writes(bql, 1000, true).is_err());
        let tracker = disk.track_writes(bql, 4096, false).expect("a bitmap");
        assert_eq!(disk.bitmaps(bql).count(), 0);
        write(bql, &front, 0, 512).expect("written");
        assert_eq!(tracker.count(), 0);
        tracker.set_enabled(true);
        write(bql, &front, 0, 512).expect("written");
        tracker.set(100 * KIB..101 * KIB);
        assert_eq!(tracker.count(), 8192);
        assert_eq!(tracker.take_area(0..MIB, u64::MAX), Some(0..4096));
        tracker.reset(0..MIB);
        assert_eq!(tracker.take_area(0..MIB, u64::MAX), None);
        tracker.set(0..1);
        let taken = tracker.take();
        assert_eq!((taken.count(), tracker.count()), (4096, 0));
        tracker.merge(&taken).expect("as long");
        assert_eq!(tracker.status(0..MIB), Some((true, 0..4096)));
        let reader = BitmapReader::clone(&tracker);
        tracker.end(bql);
        write(bql, &front, 8192, 512).expect("written");
        assert_eq!(reader.count(), 4096, "it notes nothing any more");
        drop(reader);
    });
}
