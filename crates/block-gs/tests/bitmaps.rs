//! Dirty bitmaps of nodes: what users may do with them, what they note, and
//! that no write is forgotten while they change hands.

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use block_common::Preallocation;
use block_common::bitmap::HBitmap;
use block_common::error::errno;
use block_drivers::{NullCo, Raw};
use block_gs::{
    Backend, BitmapError, BitmapOptions, BitmapUse, BlockDriver, BlockLimits, BqlGuard,
    DirtyBitmap, GraphError, IoError, IoThread, Node, NodeBuilder, NodeOptions, Perm, StoredState,
};
use block_io::aio::{JoinHandle, yield_now};
use block_io::dirty::{BitmapReader, StoredBitmap, Tracker};
use block_io::{
    Buffer, Capabilities, CopyEnd, Destination, DriverIo, IoFuture, Request, Source, Truncation,
    WriteFlags,
};
use common::{in_layer, spin_until};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// A disk in memory that may fail, and that can keep bitmaps.
#[derive(Default)]
struct Disk {
    bytes: Mutex<Vec<u8>>,
    alignment: u32,
    cluster: u32,
    /// Writes arrive and are reported to have failed.
    fails: AtomicBool,
    /// The next so many writes wait until this is 0 again.
    held: AtomicU64,
    loses_length: AtomicBool,
    keeps_bitmaps: bool,
    full: AtomicBool,
    kept: Arc<Mutex<Vec<StoredBitmap>>>,
}

impl Disk {
    fn of(bytes: u64) -> Disk {
        Disk {
            bytes: Mutex::new(vec![0; bytes as usize]),
            alignment: 1,
            cluster: 1,
            ..Disk::default()
        }
    }

    fn outcome(&self) -> Result<(), IoError> {
        match self.fails.load(Ordering::Relaxed) {
            true => Err(IoError::from_errno(errno::EIO)),
            false => Ok(()),
        }
    }
}

impl DriverIo for Disk {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            zero_flags: Some(WriteFlags::MAY_UNMAP),
            discards: true,
            ..Capabilities::default()
        }
    }

    fn read<'r>(&'r self, _: Request<'r>, offset: u64, mut into: Destination<'r>) -> IoFuture<'r> {
        let (start, bytes) = (offset as usize, self.bytes.lock().expect("no panic"));
        into.copy_from_slice(&bytes[start..start + into.len()]);
        IoFuture::done()
    }

    fn write<'r>(
        &'r self,
        _: Request<'r>,
        offset: u64,
        from: Source<'r>,
        _: WriteFlags,
    ) -> IoFuture<'r> {
        IoFuture::new(async move {
            while self.held.load(Ordering::Acquire) > 0 {
                yield_now().await;
            }
            let start = offset as usize;
            let mut bytes = self.bytes.lock().expect("no panic");
            let end = bytes.len().max(start + from.len());
            bytes.resize(end, 0);
            from.copy_to_slice(&mut bytes[start..start + from.len()]);
            self.outcome()
        })
    }

    fn write_zeroes<'r>(
        &'r self,
        _: Request<'r>,
        offset: u64,
        bytes: u64,
        _: WriteFlags,
    ) -> IoFuture<'r> {
        let start = offset as usize;
        self.bytes.lock().expect("no panic")[start..start + bytes as usize].fill(0);
        IoFuture::ready(self.outcome())
    }

    fn discard<'r>(&'r self, _: Request<'r>, _: u64, _: u64) -> IoFuture<'r> {
        IoFuture::ready(self.outcome())
    }

    fn truncate<'r>(&'r self, _: Request<'r>, to: Truncation) -> IoFuture<'r> {
        let mut bytes = self.bytes.lock().expect("no panic");
        bytes.resize(to.length as usize, 0);
        IoFuture::ready(self.outcome())
    }

    fn length<'r>(&'r self, _: Request<'r>) -> IoFuture<'r, u64> {
        if self.loses_length.load(Ordering::Relaxed) {
            return IoFuture::failed(IoError::from_errno(errno::EIO));
        }
        IoFuture::ready(Ok(self.bytes.lock().expect("no panic").len() as u64))
    }

    fn copy_range_from<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        to: CopyEnd<'r>,
        bytes: u64,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        let from = CopyEnd { request, offset };
        to.request.copy_range_to(to.offset, from, bytes, flags)
    }

    fn copy_range_to<'r>(
        &'r self,
        _: Request<'r>,
        _: u64,
        _: CopyEnd<'r>,
        _: u64,
        _: WriteFlags,
    ) -> IoFuture<'r> {
        IoFuture::ready(self.outcome())
    }

    fn can_store_bitmap<'r>(&'r self, _: Request<'r>, name: &'r str, _: u32) -> IoFuture<'r> {
        match self.full.load(Ordering::Relaxed) {
            false => IoFuture::done(),
            true => IoFuture::failed(IoError::refused(
                errno::EINVAL,
                format!("There is no room for '{name}'"),
            )),
        }
    }

    fn remove_stored_bitmap<'r>(&'r self, _: Request<'r>, name: &'r str) -> IoFuture<'r> {
        let outcome = self.outcome();
        if outcome.is_ok() {
            let mut kept = self.kept.lock().expect("no panic");
            kept.retain(|stored| stored.name != name);
        }
        IoFuture::ready(outcome)
    }

    fn store_bitmaps<'r>(&'r self, _: Request<'r>, bitmaps: &'r [StoredBitmap]) -> IoFuture<'r> {
        *self.kept.lock().expect("no panic") = bitmaps.to_vec();
        IoFuture::ready(self.outcome())
    }
}

impl BlockDriver for Disk {
    fn format_name(&self) -> &'static str {
        "disk"
    }

    fn supports_persistent_bitmaps(&self) -> bool {
        self.keeps_bitmaps
    }

    fn refresh_limits(&self, _: &BqlGuard, limits: &mut BlockLimits) -> Result<(), GraphError> {
        limits.request_alignment = self.alignment;
        limits.cluster_size = self.cluster;
        Ok(())
    }
}

fn open(bql: &mut BqlGuard, name: &str, disk: Disk) -> (Node, Arc<Disk>) {
    let driver = Arc::new(disk);
    let options = NodeOptions {
        unmap: true,
        ..NodeOptions::default()
    };
    let builder = NodeBuilder::new(name).options(options);
    let node = builder.open(bql, driver.clone()).expect("opened");
    (node, driver)
}

fn front(bql: &mut BqlGuard, node: &Node) -> Backend {
    let perm = Perm::CONSISTENT_READ | Perm::WRITE | Perm::RESIZE;
    let front = Backend::new(bql, &format!("{}-front", node.name()), perm, Perm::all());
    let front = front.expect("a backend");
    front.insert(bql, node).expect("inserted");
    front
}

fn of_granularity(bytes: u32) -> BitmapOptions {
    BitmapOptions {
        granularity: Some(bytes),
        ..BitmapOptions::default()
    }
}

fn add(bql: &mut BqlGuard, node: &Node, name: &str, granularity: u32) -> DirtyBitmap {
    let added = node.add_bitmap(bql, name, of_granularity(granularity));
    added.expect("a bitmap")
}

fn areas(bql: &mut BqlGuard, bitmap: &DirtyBitmap) -> Vec<(u64, u64)> {
    let reader = bitmap.reader(bql).expect("not busy");
    let contents = reader.snapshot();
    let areas = contents.areas(0..u64::MAX);
    areas.map(|area| (area.start, area.end)).collect()
}

/// Writes through the backend's request, which may make the node longer.
fn write(bql: &mut BqlGuard, front: &Backend, at: u64, bytes: u64) -> Result<(), IoError> {
    let buffer = Buffer::zeroed(bytes as usize);
    let in_flight = bql.block_on(front.root().begin());
    bql.block_on(in_flight.request()?.write(at, buffer.source()))
}

fn said<T: std::fmt::Debug>(outcome: Result<T, BitmapError>) -> String {
    outcome.expect_err("refused").to_string()
}

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
fn clearing_and_merging_can_be_undone() {
    in_layer(|bql| {
        let (disk, _) = open(bql, "disk", Disk::of(MIB));
        let (other, _) = open(bql, "other", Disk::of(MIB));
        let (short, _) = open(bql, "short", Disk::of(MIB / 2));
        let (front, back) = (front(bql, &disk), front(bql, &other));
        let bitmap = add(bql, &disk, "b", 512);
        let coarse = add(bql, &other, "coarse", 65536);
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
        let (bitmap, other) = (add(bql, &disk, "b", 512), add(bql, &disk, "other", 512));
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
        assert_eq!(said(refused), "There is no room for 'p'");
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

/// Somebody is told of a sector.
type Told<R> = Arc<dyn Fn(u64) -> R + Send + Sync>;

/// Writers on two iothreads, each of which writes every sixth sector once, so
/// that a single write that is forgotten is missed. A write begins when
/// `may_begin` says so, and `written` hears of its end.
fn writers(
    bql: &mut BqlGuard,
    front: &Backend,
    may_begin: &Told<bool>,
    written: &Told<()>,
) -> Vec<JoinHandle<()>> {
    const WRITERS: usize = 6;
    let threads = ["io0", "io1"].map(|name| IoThread::create(bql, name).expect("an iothread"));
    let tasks = (0..WRITERS).map(|writer| {
        let root = front.root().clone();
        let (may_begin, written) = (Arc::clone(may_begin), Arc::clone(written));
        threads[writer % 2].context().spawn(async move {
            let buffer = Buffer::from(&[1; 512][..]);
            for sector in (writer as u64..SECTORS).step_by(WRITERS) {
                while !may_begin(sector) {
                    yield_now().await;
                }
                let writing = root.write(sector * 512, buffer.source());
                writing.await.expect("written");
                written(sector);
            }
        })
    });
    tasks.collect()
}

fn at_once() -> Told<bool> {
    Arc::new(|_| true)
}

const SECTORS: u64 = 12_000;

#[test]
fn no_write_is_forgotten_while_a_bitmap_changes_hands() {
    in_layer(|bql| {
        let (disk, _) = open(bql, "disk", Disk::of(SECTORS * 512));
        let front = front(bql, &disk);
        // The writers are under way when the bitmap comes, and never far ahead
        // of what happens to it.
        let done = Arc::new(AtomicU64::new(0));
        let allowed = Arc::new(AtomicU64::new(600));
        let created = Arc::new(AtomicBool::new(false));
        let must: Arc<[AtomicBool]> = (0..SECTORS).map(|_| AtomicBool::new(false)).collect();
        let may_begin: Told<bool> = Arc::new({
            let (allowed, created) = (Arc::clone(&allowed), Arc::clone(&created));
            let must = Arc::clone(&must);
            move |sector| {
                let noted = created.load(Ordering::Acquire);
                must[sector as usize].store(noted, Ordering::Relaxed);
                sector < allowed.load(Ordering::Relaxed)
            }
        });
        let written: Told<()> = Arc::new({
            let done = Arc::clone(&done);
            move |_| {
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
        let tasks = writers(bql, &front, &may_begin, &written);
        spin_until(bql, || done.load(Ordering::Relaxed) > 200);
        let bitmap = add(bql, &disk, "b", 512);
        created.store(true, Ordering::Release);
        let mut collected = HBitmap::new(SECTORS * 512, 9).expect("a bitmap");
        let mut rounds = 0;
        while tasks.iter().any(|task| !task.is_finished()) {
            rounds += 1;
            allowed.fetch_add(100, Ordering::Relaxed);
            let frozen = bitmap.freeze(bql).expect("not busy");
            bql.run_for(std::time::Duration::from_micros(200));
            match rounds % 4 {
                // A backup that has worked, one that has not, one that was lost.
                0 | 1 => {
                    collected.merge(&frozen.snapshot()).expect("as long");
                    frozen.abdicate(bql);
                }
                2 => drop(frozen.reclaim(bql)),
                _ => drop(frozen),
            }
            if rounds % 5 == 0 {
                let helper = add(bql, &disk, "helper", 512);
                helper
                    .merge(bql, std::slice::from_ref(&bitmap))
                    .expect("merged");
                let before = bitmap.clear(bql).expect("cleared");
                bitmap
                    .merge(bql, std::slice::from_ref(&helper))
                    .expect("merged");
                helper.remove(bql).expect("removed");
                drop(before);
            }
        }
        for task in tasks {
            bql.block_on(task);
        }
        assert!(rounds > 20, "there was nothing to forget");
        let rest = bitmap.reader(bql).expect("not busy").snapshot();
        collected.merge(&rest).expect("as long");
        for sector in 0..SECTORS {
            let must = must[sector as usize].load(Ordering::Relaxed);
            assert!(
                !must || collected.get(sector * 512),
                "sector {sector} is forgotten"
            );
        }
        let noted = collected.count() / 512;
        assert!(noted > SECTORS / 2 && noted <= SECTORS - 200);
    });
}

/// Copies what is dirty until nothing is, and nobody writes any more.
async fn mirror(tracker: &Tracker, root: block_io::Root, done: Arc<AtomicBool>) -> Vec<u8> {
    let mut copy = vec![0; (SECTORS * 512) as usize];
    let mut buffer = Buffer::zeroed(64 * 1024);
    loop {
        let last = done.load(Ordering::Acquire);
        while let Some(area) = tracker.take_area(0..u64::MAX, 64 * KIB) {
            let bytes = (area.end - area.start) as usize;
            let (into, _) = buffer.destination().split_at(bytes);
            root.read(area.start, into).await.expect("read");
            let start = area.start as usize;
            copy[start..start + bytes].copy_from_slice(&buffer.as_slice()[..bytes]);
        }
        if last {
            return copy;
        }
        yield_now().await;
    }
}

#[test]
fn a_copy_that_follows_the_tracker_has_everything() {
    in_layer(|bql| {
        let (disk, driver) = open(bql, "disk", Disk::of(SECTORS * 512));
        let front = front(bql, &disk);
        let tracker = Arc::new(disk.track_writes(bql, 4096, true).expect("a bitmap"));
        let done = Arc::new(AtomicBool::new(false));
        let job = IoThread::create(bql, "job").expect("an iothread");
        let job = job.context().spawn({
            let (tracker, root) = (Arc::clone(&tracker), front.root().clone());
            let done = Arc::clone(&done);
            async move { mirror(&tracker, root, done).await }
        });
        for task in writers(bql, &front, &at_once(), &(Arc::new(|_| ()) as Told<()>)) {
            bql.block_on(task);
        }
        done.store(true, Ordering::Release);
        let copy = bql.block_on(job);
        assert!(copy == *driver.bytes.lock().expect("no panic"));
        assert!(copy.iter().all(|&byte| byte == 1));
        assert!(tracker.snapshot().is_clean());
    });
}

#[test]
fn a_write_is_noted_before_it_is_reported() {
    in_layer(|bql| {
        let (disk, _) = open(bql, "disk", Disk::of(SECTORS * 512));
        let front = front(bql, &disk);
        let bitmap = add(bql, &disk, "b", 512);
        let reader: BitmapReader = bitmap.reader(bql).expect("not busy");
        let written: Told<()> =
            Arc::new(move |sector| assert!(reader.get(sector * 512), "sector {sector}"));
        let tasks = writers(bql, &front, &at_once(), &written);
        drop(written);
        for task in tasks {
            bql.block_on(task);
        }
        assert_eq!(areas(bql, &bitmap), [(0, SECTORS * 512)]);
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

/// While a bitmap is added, what the section's owner has left behind is waited
/// for. What runs meanwhile adds one that must stay as it is.
#[test]
fn a_bitmap_that_comes_while_another_is_added_is_heeded() {
    in_layer(|bql| {
        let (node, _) = open(bql, "disk", Disk::of(MIB));
        let disk = front(bql, &node);
        let main = bql.main_loop();
        let mut section = node.drain(bql);
        let kept = section.io(async |request: Request<'_>| request.activity());
        let other = node.clone();
        main.schedule(move |bql| {
            // A section inside would wait for it too.
            drop(kept);
            let stored = StoredBitmap {
                name: "stored".into(),
                enabled: true,
                contents: HBitmap::new(MIB, 16).expect("a bitmap"),
            };
            let state = StoredState {
                read_only: true,
                inconsistent: false,
            };
            let mut section = other.drain(bql);
            section.add_stored_bitmap(stored, state).expect("added");
        });
        let tracker = section.track_writes(64 << 10, true).expect("added");
        let found = node.find_bitmap(&section, "stored");
        found.expect("added while the section settled");
        section.end();
        let refused = write(bql, &disk, 0, 512).expect_err("it must not get out of date");
        assert_eq!(refused.errno(), errno::EPERM);
        tracker.end(bql);
    });
}
