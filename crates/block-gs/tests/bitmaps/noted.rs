//! What is noted, and where.

use std::sync::atomic::Ordering;

use block_common::Preallocation;
use block_drivers::{NullCo, Raw};
use block_gs::{BitmapOptions, BqlGuard};
use block_io::{Buffer, CopyEnd, WriteFlags};

use crate::common::{in_layer, spin_until};
use crate::support::{Disk, KIB, MIB, add, areas, front, of_granularity, open, write};

#[test]
fn everything_that_may_change_data_is_noted_and_nothing_else() {
    in_layer(|bql| {
        let (disk, driver) = open(bql, "disk", Disk::of(MIB));
        let front = front(bql, &disk);
        write(bql, &front, 0, 512).expect("before there is a bitmap");
        let bitmap = add(bql, &disk, "b", 512);
        let mut buffer = Buffer::zeroed(4096);
        let root = front.root().clone();
        bql.block_on(root.read(0, buffer.destination()))
            .expect("read");
        bql.block_on(root.flush()).expect("flushed");
        assert_eq!(areas(bql, &bitmap), []);
        write(bql, &front, 1000, 100).expect("written");
        assert_eq!(areas(bql, &bitmap), [(512, 1536)]);
        let zeroes = root.write_zeroes(64 * KIB, 128 * KIB, WriteFlags::empty());
        bql.block_on(zeroes).expect("zeroed");
        bql.block_on(root.discard(512 * KIB, 4096))
            .expect("discarded");
        let noted = [(512, 1536), (64 * KIB, 192 * KIB), (512 * KIB, 516 * KIB)];
        assert_eq!(areas(bql, &bitmap), noted);
        assert_eq!(bitmap.view(bql).expect("there").info().count, 133 * KIB);
        // What failed may have arrived.
        driver.fails.store(true, Ordering::Relaxed);
        assert!(write(bql, &front, 800 * KIB, 512).is_err());
        let zeroes = root.write_zeroes(900 * KIB, 512, WriteFlags::empty());
        assert!(bql.block_on(zeroes).is_err());
        assert!(bql.block_on(root.discard(1000 * KIB, 512)).is_err());
        for at in [800 * KIB, 900 * KIB, 1000 * KIB] {
            assert!(areas(bql, &bitmap).contains(&(at, at + 512)), "{at}");
        }
    });
}

#[test]
fn what_is_copied_within_the_host_is_noted_where_it_arrives() {
    in_layer(|bql| {
        let (from, _) = open(bql, "from", Disk::of(MIB));
        let (to, driver) = open(bql, "to", Disk::of(MIB));
        let fronts = [front(bql, &from), front(bql, &to)];
        let (source, target) = (add(bql, &from, "b", 512), add(bql, &to, "b", 512));
        let copy = |bql: &mut BqlGuard, at| {
            let ends = [0, 1].map(|i: usize| bql.block_on(fronts[i].root().begin()));
            let to = CopyEnd {
                request: ends[1].request().expect("a node"),
                offset: at,
            };
            let request = ends[0].request().expect("a node");
            bql.block_on(request.copy_range(0, to, 4096, WriteFlags::empty()))
        };
        copy(bql, 8192).expect("copied");
        assert_eq!(areas(bql, &source), []);
        assert_eq!(areas(bql, &target), [(8192, 12288)]);
        driver.fails.store(true, Ordering::Relaxed);
        assert!(copy(bql, 65536).is_err());
        assert_eq!(areas(bql, &target), [(8192, 12288), (65536, 69632)]);
    });
}

#[test]
fn a_write_that_is_padded_is_noted_with_its_padding() {
    in_layer(|bql| {
        let image = Disk {
            alignment: 4096,
            ..Disk::of(MIB)
        };
        let (disk, _) = open(bql, "disk", image);
        let front = front(bql, &disk);
        let bitmap = add(bql, &disk, "b", 512);
        write(bql, &front, 4096 + 10, 10).expect("written");
        assert_eq!(areas(bql, &bitmap), [(4096, 8192)]);
        let zeroes = front
            .root()
            .write_zeroes(5 * 4096 + 1, 8192, WriteFlags::empty());
        bql.block_on(zeroes).expect("zeroed");
        assert_eq!(areas(bql, &bitmap), [(4096, 8192), (5 * 4096, 8 * 4096)]);
    });
}

#[test]
fn a_write_that_is_dropped_is_noted() {
    in_layer(|bql| {
        let (disk, driver) = open(bql, "disk", Disk::of(MIB));
        let front = front(bql, &disk);
        let bitmap = add(bql, &disk, "b", 512);
        driver.held.store(1, Ordering::Release);
        let root = front.root().clone();
        let task = bql.context().spawn(async move {
            let buffer = Buffer::zeroed(512);
            root.write(4096, buffer.source()).await
        });
        spin_until(bql, || front.root().in_flight() == 1);
        assert_eq!(areas(bql, &bitmap), []);
        let cancelled = bql.block_on(task.cancel());
        assert!(cancelled.is_none());
        assert_eq!(areas(bql, &bitmap), [(4096, 4608)]);
    });
}

#[test]
fn a_bitmap_is_as_long_as_its_node() {
    in_layer(|bql| {
        let (disk, driver) = open(bql, "disk", Disk::of(MIB));
        let front = front(bql, &disk);
        let bitmap = add(bql, &disk, "b", 512);
        let off = add(bql, &disk, "off", 512);
        off.disable(bql).expect("disabled");
        let root = front.root().clone();
        let sizes = |bql: &mut BqlGuard| {
            let sizes = [&bitmap, &off].map(|b| b.reader(bql).expect("not busy").size());
            assert_eq!(sizes[0], sizes[1]);
            sizes[0]
        };
        // A truncation makes no difference to what has been there, and what is
        // new is zeroes.
        bql.block_on(root.truncate(2 * MIB, true, Preallocation::Off))
            .expect("grown");
        assert_eq!((sizes(bql), areas(bql, &bitmap)), (2 * MIB, vec![]));
        write(bql, &front, 2 * MIB + KIB, 512).expect("grown");
        assert_eq!(sizes(bql), 2 * MIB + KIB + 512);
        assert_eq!(areas(bql, &bitmap), [(2 * MIB + KIB, 2 * MIB + KIB + 512)]);
        write(bql, &front, 0, 512).expect("written");
        bql.block_on(root.truncate(MIB, true, Preallocation::Off))
            .expect("cut");
        assert_eq!((sizes(bql), areas(bql, &bitmap)), (MIB, vec![(0, 512)]));
        // A write that fails may have made the node longer all the same.
        driver.fails.store(true, Ordering::Relaxed);
        assert!(write(bql, &front, MIB, 512).is_err());
        driver.fails.store(false, Ordering::Relaxed);
        bql.block_on(root.length()).expect("asked");
        assert_eq!(sizes(bql), MIB + 512);
        assert_eq!(areas(bql, &bitmap), [(0, 512), (MIB, MIB + 512)]);
        assert_eq!(areas(bql, &off), []);
    });
}

#[test]
fn disabled_ones_note_nothing_and_enabled_ones_what_is_in_flight() {
    in_layer(|bql| {
        let (disk, driver) = open(bql, "disk", Disk::of(MIB));
        let front = front(bql, &disk);
        let options = BitmapOptions {
            disabled: true,
            ..of_granularity(512)
        };
        let bitmap = disk.add_bitmap(bql, "b", options).expect("a bitmap");
        assert!(!bitmap.view(bql).expect("there").info().recording);
        write(bql, &front, 0, 512).expect("written");
        assert_eq!(areas(bql, &bitmap), []);
        driver.held.store(1, Ordering::Release);
        let root = front.root().clone();
        let task = bql.context().spawn(async move {
            let buffer = Buffer::zeroed(512);
            root.write(4096, buffer.source()).await
        });
        spin_until(bql, || front.root().in_flight() == 1);
        bitmap.enable(bql).expect("enabled");
        driver.held.store(0, Ordering::Release);
        bql.block_on(task).expect("written");
        assert_eq!(areas(bql, &bitmap), [(4096, 4608)]);
        bitmap.disable(bql).expect("disabled");
        write(bql, &front, 0, 512).expect("written");
        assert_eq!(areas(bql, &bitmap), [(4096, 4608)]);
    });
}

#[test]
fn requests_see_a_node_that_they_skip_without_a_bitmap() {
    in_layer(|bql| {
        let file = NullCo::new(MIB).open(bql, "file").expect("opened");
        let raw = Raw::over(&file).open(bql, "raw").expect("opened");
        let front = front(bql, &raw);
        assert!(raw.io().is_transparent());
        let bitmap = add(bql, &raw, "b", 512);
        assert!(!raw.io().is_transparent());
        let root = front.root().clone();
        let buffer = Buffer::zeroed(512);
        bql.block_on(root.write(4096, buffer.source()))
            .expect("written");
        assert_eq!(areas(bql, &bitmap), [(4096, 4608)]);
        let below = add(bql, &file, "b", 512);
        bql.block_on(root.write(0, buffer.source()))
            .expect("written");
        assert_eq!(areas(bql, &below), [(0, 512)]);
        bitmap.remove(bql).expect("removed");
        assert!(raw.io().is_transparent(), "nothing to pay any more");
        bql.block_on(root.write(8192, buffer.source()))
            .expect("written");
        assert_eq!(areas(bql, &below), [(0, 512), (8192, 8704)]);

        let tracker = raw.track_writes(bql, 512, true).expect("a bitmap");
        assert!(!raw.io().is_transparent());
        bql.block_on(root.write(8192, buffer.source()))
            .expect("written");
        assert_eq!(tracker.count(), 512);
        std::thread::spawn(move || drop(tracker))
            .join()
            .expect("dropped");
        spin_until(bql, || raw.io().is_transparent());
        let tracker = raw.track_writes(bql, 512, true).expect("a bitmap");
        tracker.end(bql);
        assert!(raw.io().is_transparent());
    });
}
