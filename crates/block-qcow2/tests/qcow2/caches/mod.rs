//! Caches of other sizes, and memory of theirs that goes back.

mod held;
mod meddler;
mod random;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use block_drivers::File;
use block_gs::{BqlGuard, GraphError, IoThread, Node, NodeOptions, Perm, ReopenOptions};
use block_io::Request;
use block_io::aio::sleep;
use block_qcow2::{Cached, CreateOptions, Qcow2, Qcow2Image, Qcow2Options};

use self::held::Held;
use self::meddler::Meddler;
use crate::support::{
    COPIED, READ_WRITE, Stored, assert_sound_and_reads, at_a_path, backend, beside_qemu_img, close,
    clusters_of, create, create_written, disk, flush, open, open_with, pattern, read,
    take_snapshot, turn, write,
};

/// What is in memory.
fn cached(bql: &mut BqlGuard, node: &Node) -> Cached {
    let driver = node.driver::<Qcow2>().expect("an image");
    node.drain(bql)
        .io(async |request: Request<'_>| driver.cached(request))
}

fn sizes(l2: u64, entry: Option<u64>, counts: u64) -> Qcow2Options {
    Qcow2Options {
        l2_cache_size: Some(l2),
        l2_cache_entry_size: entry,
        refcount_cache_size: Some(counts),
        cache_clean_interval: Some(0),
        ..Default::default()
    }
}

fn writable(settings: &Qcow2Options) -> ReopenOptions {
    ReopenOptions::new(NodeOptions {
        unmap: true,
        ..NodeOptions::default()
    })
    .settings(settings.clone())
}

fn reopen(bql: &mut BqlGuard, node: &Node, settings: &Qcow2Options) -> Result<(), GraphError> {
    node.drain(bql).reopen(writable(settings))
}

#[test]
fn a_reopen_makes_caches_of_other_sizes() {
    at_a_path(|bql, path| {
        create(bql, path, &CreateOptions::new(4 << 30));
        let node = open_with(bql, path, false, sizes(1 << 20, None, 1 << 20)).expect("opened");
        let found = cached(bql, &node);
        assert_eq!((found.slice_bytes, found.most_blocks), (65536, 16));
        assert!(found.places >= 8, "{found:?}");
        let disk = disk(bql, &node);
        let data = pattern(300_000, 1);
        write(bql, &disk, 1 << 30, &data).expect("written");
        write(bql, &disk, 3 << 30, &data).expect("written");
        assert_eq!(cached(bql, &node).slices, 2);

        reopen(bql, &node, &sizes(0, Some(512), 0)).expect("fewer");
        let found = cached(bql, &node);
        assert_eq!((found.slice_bytes, found.places), (512, 2));
        assert_eq!((found.slices, found.most_blocks), (0, 4));
        assert!(read(bql, &disk, 1 << 30, 300_000).expect("read") == data);
        assert!(read(bql, &disk, 3 << 30, 300_000).expect("read") == data);
        write(bql, &disk, 2 << 30, &data).expect("written");

        for wrong in [
            sizes(0, Some(1000), 0),
            sizes(1 << 20, None, 1 << 60),
            Qcow2Options {
                cache_size: Some(1),
                ..sizes(0, None, 2)
            },
        ] {
            reopen(bql, &node, &wrong).expect_err("cannot be").errno();
            let found = cached(bql, &node);
            assert_eq!((found.slice_bytes, found.places), (512, 2));
            assert_eq!(found.most_blocks, 4);
        }

        reopen(bql, &node, &sizes(1 << 20, Some(4096), 1 << 20)).expect("more");
        let found = cached(bql, &node);
        assert_eq!((found.slice_bytes, found.most_blocks), (4096, 16));
        assert!(found.places >= 128, "{found:?}");
        for offset in [1, 2, 3] {
            assert!(read(bql, &disk, offset << 30, 300_000).expect("read") == data);
        }
    });
}

/// Reopens an image with larger caches and a filter above it, both or neither.
fn reopen_both(bql: &mut BqlGuard, node: &Node, filter: &Node) -> Result<(), GraphError> {
    let mut section = node.drain(bql);
    let mut both = section.transaction();
    both.reopen(writable(&sizes(1 << 20, Some(4096), 1 << 20)));
    both.at(filter);
    both.reopen(ReopenOptions::new(NodeOptions::default()));
    both.commit()
}

#[test]
fn caches_stay_when_another_node_is_refused() {
    at_a_path(|bql, path| {
        create(bql, path, &CreateOptions::new(4 << 20));
        let node = open_with(bql, path, false, sizes(0, Some(512), 0)).expect("opened");
        let filter = Meddler::over(bql, &node, true);
        let disk = disk(bql, &node);
        write(bql, &disk, 0, &[1; 4096]).expect("written");
        let before = cached(bql, &node);
        let refused = reopen_both(bql, &node, &filter);
        refused.expect_err("the filter refuses").errno();
        assert_eq!(cached(bql, &node), before);
        reopen(bql, &node, &sizes(1 << 20, Some(4096), 1 << 20)).expect("alone");
        assert_eq!(cached(bql, &node).slice_bytes, 4096);
    });
}

#[test]
fn what_changes_while_a_reopen_is_got_ready_is_not_lost() {
    beside_qemu_img(|bql, path, qemu_img| {
        create(bql, path, &CreateOptions::new(4 << 20));
        let node = open_with(bql, path, false, sizes(0, Some(512), 0)).expect("opened");
        let filter = Meddler::over(bql, &node, false);
        let disk = disk(bql, &filter);
        write(bql, &disk, 0, &[1; 4096]).expect("written");
        reopen_both(bql, &node, &filter).expect("reopened");
        assert_eq!(cached(bql, &node).slice_bytes, 4096);
        assert!(read(bql, &disk, 1 << 20, 65536).expect("read") == [7; 65536]);
        close(bql, (disk, filter, node));
        let mut model = vec![0; 4 << 20];
        model[..4096].fill(1);
        model[1 << 20..][..65536].fill(7);
        assert_sound_and_reads(qemu_img, path, &model);
    });
}

#[test]
fn a_longer_image_gets_larger_caches() {
    at_a_path(|bql, path| {
        let options = clusters_of(4096, 1 << 20);
        create(bql, path, &options);
        let node = open(bql, path, false).expect("opened");
        assert_eq!(cached(bql, &node).places, 2);
        let perm = READ_WRITE | Perm::RESIZE;
        let disk = backend(bql, &node, perm).expect("nobody objects");
        write(bql, &disk, 0, &[3; 4096]).expect("written");
        let none = block_io::Preallocation::Off;
        let longer = disk.root().truncate(64 << 20, true, none);
        bql.block_on(longer).expect("longer");
        let wanted = 32;
        for _ in 0..100 {
            turn(bql);
        }
        assert_eq!(cached(bql, &node).places, wanted);
        assert!(read(bql, &disk, 0, 4096).expect("read") == [3; 4096]);
        write(bql, &disk, 60 << 20, &[4; 4096]).expect("written");
        assert!(read(bql, &disk, 60 << 20, 4096).expect("read") == [4; 4096]);
    });
}

/// Runs the main loop until the caches are as they are wanted.
fn until(bql: &mut BqlGuard, node: &Node, wanted: impl Fn(&Cached) -> bool) -> Cached {
    loop {
        let found = cached(bql, node);
        if wanted(&found) {
            return found;
        }
        bql.run_for(Duration::from_millis(20));
    }
}

#[test]
fn what_nobody_uses_gives_its_memory_back() {
    at_a_path(|bql, path| {
        create(bql, path, &CreateOptions::new(8 << 30));
        let never = sizes(1 << 20, Some(65536), 1 << 20);
        let often = Qcow2Options {
            cache_clean_interval: Some(1),
            ..never.clone()
        };
        let node = open_with(bql, path, false, never.clone()).expect("opened");
        let disk = disk(bql, &node);
        for gigabyte in 0..8 {
            write(bql, &disk, gigabyte << 30, &[gigabyte as u8; 4096]).expect("written");
        }
        flush(bql, &disk).expect("flushed");
        let before = cached(bql, &node);
        assert_eq!((before.slices, before.cleanings), (8, 0));
        assert!(before.blocks > 0);

        reopen(bql, &node, &often).expect("reopened");
        assert_eq!(cached(bql, &node).slices, 8, "it has the same caches");
        until(bql, &node, |now| now.slices == 0 && now.blocks == 0);
        for gigabyte in 0..8 {
            let found = read(bql, &disk, gigabyte << 30, 4096).expect("read");
            assert!(found == [gigabyte as u8; 4096]);
        }
        assert_eq!(cached(bql, &node).slices, 8);
        // What is not stored stays.
        write(bql, &disk, 1 << 20, &[9; 4096]).expect("written");
        until(bql, &node, |now| now.slices == 1);
        assert!(read(bql, &disk, 1 << 20, 4096).expect("read") == [9; 4096]);
        flush(bql, &disk).expect("flushed");
        until(bql, &node, |now| now.slices == 0 && now.blocks == 0);

        reopen(bql, &node, &never).expect("reopened");
        read(bql, &disk, 0, 4096).expect("read");
        let stopped = cached(bql, &node);
        bql.run_for(Duration::from_millis(2500));
        assert_eq!(cached(bql, &node), stopped, "nobody looks any more");
    });
}

#[test]
fn memory_goes_back_wherever_the_node_is_at_home() {
    at_a_path(|bql, path| {
        create(bql, path, &CreateOptions::new(8 << 30));
        let often = Qcow2Options {
            cache_clean_interval: Some(1),
            ..sizes(1 << 20, Some(65536), 1 << 20)
        };
        let node = open_with(bql, path, false, often).expect("opened");
        let disk = disk(bql, &node);
        let thread = IoThread::create(bql, "elsewhere").expect("a thread");
        for gigabyte in 0..8 {
            write(bql, &disk, gigabyte << 30, &[1; 4096]).expect("written");
        }
        flush(bql, &disk).expect("flushed");
        disk.set_iothread(bql, Some(&thread)).expect("moved");
        until(bql, &node, |now| now.slices == 0 && now.blocks == 0);
        // In a drained section nobody looks.
        read(bql, &disk, 0, 4096).expect("read");
        let driver = node.driver::<Qcow2>().expect("an image");
        let mut section = node.drain(bql);
        let before = section.io(async |request: Request<'_>| driver.cached(request));
        let pause = async || sleep(Duration::from_millis(2500)).await;
        section.block_on(pause());
        let after = section.io(async |request: Request<'_>| driver.cached(request));
        assert_eq!(after, before);
        drop(section);
        until(bql, &node, |now| now.slices == 0);
        disk.set_iothread(bql, None).expect("moved");
        read(bql, &disk, 0, 4096).expect("read");
        until(bql, &node, |now| now.slices == 0);
        close(bql, (disk, node));
        thread.remove(bql).expect("nobody is there");
    });
}

#[test]
fn a_snapshot_of_what_is_not_counted_is_refused() {
    at_a_path(|bql, path| {
        let options = CreateOptions::new(4 << 20);
        create_written(bql, path, &options, &[(0, &[1; 4096])]);
        // Somewhere the table of counts has nothing for.
        Stored::damage(path, |image| image.put(image.entry(1), 8 << 30 | COPIED));
        let before = Stored::read(path);
        let node = open(bql, path, false).expect("opened");
        let refused = take_snapshot(bql, &node, "s");
        let text = refused.expect_err("it would count nothing").to_string();
        assert!(text.contains("nothing counts"), "{text}");
        close(bql, node);
        let after = Stored::read(path);
        assert!(after.0[..112] == before.0[..112], "the header is as it was");
    });
}

/// Opens an image over a file whose requests can be kept waiting.
fn open_held(bql: &mut BqlGuard, path: &Path, settings: Qcow2Options) -> (Node, Node) {
    let file = File::new(path).open(bql, "").expect("opened");
    let held = Held::over(bql, &file);
    let image = Qcow2Image::read(bql, &held).expect("an image");
    let node = image.settings(settings).open(bql, "").expect("opened");
    (held, node)
}

#[test]
fn places_are_free_again_when_their_tables_went_while_they_were_stored() {
    at_a_path(|bql, path| {
        let options = clusters_of(4096, 8 << 20);
        create(bql, path, &options);
        let (held, node) = open_held(bql, path, sizes(0, Some(4096), 0));
        assert_eq!(cached(bql, &node).places, 2);
        let perm = READ_WRITE | Perm::RESIZE;
        let disk = backend(bql, &node, perm).expect("nobody objects");
        for offset in [4 << 20, 6 << 20] {
            write(bql, &disk, offset, &[1; 4096]).expect("written");
        }
        flush(bql, &disk).expect("flushed");
        for offset in [4 << 20, 6 << 20] {
            write(bql, &disk, offset + 8192, &[2; 4096]).expect("written");
        }
        let driver = held.driver::<Held>().expect("it is one");
        *driver.places.lock().expect("nobody panics") = Stored::read(path).l2_tables().split_off(2);
        let root = disk.root();
        let flushed = root.clone();
        let flushed = bql
            .context()
            .spawn(async move { flushed.flush().await.is_err() });
        driver.until_waiting(bql);
        let shorter = root.clone();
        let none = block_io::Preallocation::Off;
        let shorter = bql
            .context()
            .spawn(async move { shorter.truncate(2 << 20, true, none).await });
        // It waits for its turn to store what it has done.
        bql.run_for(Duration::from_millis(200));
        driver.places.lock().expect("nobody panics").clear();
        assert!(bql.block_on(flushed), "it was not stored");
        bql.block_on(shorter).expect("shorter");
        for offset in [0, 1 << 20] {
            write(bql, &disk, offset, &[3; 4096]).expect("written");
            assert!(read(bql, &disk, offset, 4096).expect("read") == [3; 4096]);
        }
        flush(bql, &disk).expect("flushed");
    });
}

#[test]
fn a_table_is_not_used_anew_while_somebody_reads_it() {
    at_a_path(|bql, path| {
        let options = clusters_of(4096, 2 << 20);
        let data = pattern(4096, 1);
        create_written(bql, path, &options, &[(0, &data)]);
        // The table is used once, and nothing says so.
        let table = Stored::read(path).l2();
        Stored::damage(path, |image| image.put(image.l1(), table));

        let (held, node) = open_held(bql, path, sizes(1 << 20, Some(512), 0));
        let disk = disk(bql, &node);
        let driver = held.driver::<Held>().expect("it is one");
        *driver.read.lock().expect("nobody panics") = Some(table);
        let root = disk.root().clone();
        let asked = bql
            .context()
            .spawn(async move { root.is_allocated_above(None, 0, 4096).await.is_ok() });
        driver.until_waiting(bql);
        // Another slice of the table: the table is moved.
        for number in 0..8 {
            write(bql, &disk, (1 << 20) + number * 4096, &[7; 4096]).expect("written");
            flush(bql, &disk).expect("flushed");
            flush(bql, &disk).expect("flushed");
        }
        assert_ne!(Stored::read(path).l2(), table);
        driver.reads.store(false, Ordering::Relaxed);
        assert!(bql.block_on(asked), "there is data");
        assert!(read(bql, &disk, 0, 4096).expect("read") == data);
    });
}
