//! No write is forgotten, whatever happens to bitmaps meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use block_common::bitmap::HBitmap;
use block_common::error::errno;
use block_gs::{Backend, BqlGuard, IoThread, StoredState};
use block_io::aio::{JoinHandle, yield_now};
use block_io::dirty::{BitmapReader, StoredBitmap, Tracker};
use block_io::{Buffer, Request};

use crate::common::{in_layer, spin_until};
use crate::support::{Disk, KIB, MIB, add, areas, front, open, write};

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
