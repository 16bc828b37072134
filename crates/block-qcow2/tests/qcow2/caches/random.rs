//! Random requests while caches change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use block_io::aio::ContextThread;
use block_io::{Buffer, Root, WriteFlags};
use block_qcow2::{CreateOptions, Qcow2Options};

use super::{cached, reopen, sizes};
use crate::support::{
    Random, assert_sound_and_reads, beside_qemu_img, close, create, disk, open_with, pattern,
};

/// How many threads send requests.
const THREADS: u64 = 3;

/// How many clusters of its own each has.
const CLUSTERS: u64 = 40;

/// How an image is made, and how many clusters apart those are that are used.
struct Shape {
    options: CreateOptions,
    stride: u64,
}

impl Shape {
    fn cluster(&self) -> usize {
        self.options.cluster_size as usize
    }

    /// Where a cluster of a thread is: beside those of the others.
    fn place(&self, thread: u64, number: u64) -> u64 {
        (number * THREADS + thread) * self.stride * self.options.cluster_size
    }
}

/// Sends requests to the clusters at these places until it is told to stop, and
/// compares what it reads. Returns what must be there.
async fn scribble(
    root: Root,
    me: u64,
    places: Vec<u64>,
    cluster: usize,
    stop: Arc<AtomicBool>,
) -> Vec<Vec<u8>> {
    let mut random = Random(me + 1);
    let mut model = vec![vec![0; cluster]; places.len()];
    for step in 0_u64.. {
        if step > 300 && stop.load(Ordering::Relaxed) {
            break;
        }
        let number = random.next(CLUSTERS) as usize;
        let (offset, known) = (places[number], &mut model[number]);
        match random.next(16) {
            0..8 => {
                let sectors = cluster as u64 / 512;
                let first = random.next(sectors);
                let count = 1 + random.next(sectors - first);
                let range = (first * 512) as usize..((first + count) * 512) as usize;
                let bytes = pattern(range.len(), step << 8 | me);
                let buffer = Buffer::from(&*bytes);
                let written = root.write(offset + first * 512, buffer.source());
                written.await.expect("written");
                known[range].copy_from_slice(&bytes);
            }
            8..12 => {
                let mut buffer = Buffer::zeroed(cluster);
                let read = root.read(offset, buffer.destination());
                read.await.expect("read");
                assert!(buffer.as_slice() == known, "{me}: {number} in {step}");
            }
            12 => {
                let flags = WriteFlags::MAY_UNMAP;
                let zeroed = root.write_zeroes(offset, cluster as u64, flags);
                zeroed.await.expect("zeroed");
                known.fill(0);
            }
            13 | 14 => {
                let discarded = root.discard(offset, cluster as u64);
                discarded.await.expect("given up");
                known.fill(0);
            }
            _ => root.flush().await.expect("flushed"),
        }
    }
    model
}

/// Requests of several threads to clusters of their own, in slices that they
/// share, while the caches change in both directions and give memory back.
fn random_requests(shape: &Shape) {
    beside_qemu_img(|bql, path, qemu_img| {
        create(bql, path, &shape.options);
        let cluster = shape.options.cluster_size;
        let turns = [
            (0, Some(512), 0),
            (1 << 20, Some(cluster), 1 << 20),
            (4096, Some(cluster.min(2048)), 4096),
            (32 << 20, None, 0),
            (0, Some(cluster), 1 << 20),
        ];
        let turns = turns.map(|(l2, entry, counts)| Qcow2Options {
            cache_clean_interval: Some(1),
            ..sizes(l2, entry, counts)
        });
        let node = open_with(bql, path, false, turns[0].clone()).expect("opened");
        let disk = disk(bql, &node);
        let threads: Vec<ContextThread> = (0..THREADS)
            .map(|number| ContextThread::spawn(&format!("t{number}")).expect("a thread"))
            .collect();
        let stop = Arc::new(AtomicBool::new(false));
        let work = threads.iter().zip(0..).map(|(thread, me)| {
            let places = (0..CLUSTERS).map(|number| shape.place(me, number));
            let (root, stop) = (disk.root().clone(), Arc::clone(&stop));
            let work = scribble(root, me, places.collect(), shape.cluster(), stop);
            thread.context().spawn(work)
        });
        let work: Vec<_> = work.collect();

        let start = cached(bql, &node).cleanings;
        for turn in 0.. {
            reopen(bql, &node, &turns[turn % turns.len()]).expect("reopened");
            bql.run_for(Duration::from_millis(5));
            if turn > 40 && cached(bql, &node).cleanings >= start + 2 {
                break;
            }
            if work.iter().any(|work| work.is_finished()) {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);

        let mut model = vec![0; node.length(bql) as usize];
        for (me, work) in (0..).zip(work) {
            for (number, known) in (0..).zip(bql.block_on(work)) {
                let at = shape.place(me, number) as usize;
                model[at..at + known.len()].copy_from_slice(&known);
            }
        }
        close(bql, (disk, node));
        for thread in threads {
            let _ = thread.stop();
        }
        assert_sound_and_reads(qemu_img, path, &model);
    });
}

/// An image whose counts have so many bits.
fn counted(cluster_size: u64, refcount_bits: u32, length: u64) -> CreateOptions {
    CreateOptions {
        cluster_size,
        refcount_bits,
        ..CreateOptions::new(length)
    }
}

#[test]
fn requests_while_caches_of_tiny_clusters_change() {
    for (bits, stride) in [(16, 5), (64, 30)] {
        let options = counted(512, bits, 4 << 20);
        random_requests(&Shape { options, stride });
    }
}

#[test]
fn requests_while_caches_of_narrow_counts_change() {
    for bits in [1, 2, 4] {
        let options = counted(4096, bits, 16 << 20);
        let stride = 20;
        random_requests(&Shape { options, stride });
    }
}

#[test]
fn requests_while_caches_of_wide_counts_change() {
    for bits in [8, 32] {
        let options = counted(1024, bits, 8 << 20);
        let stride = 60;
        random_requests(&Shape { options, stride });
    }
}

#[test]
fn requests_while_caches_of_subclusters_change() {
    random_requests(&Shape {
        options: CreateOptions {
            cluster_size: 16384,
            extended_l2: true,
            ..CreateOptions::new(128 << 20)
        },
        stride: 60,
    });
}

#[test]
fn requests_while_caches_of_usual_clusters_change() {
    random_requests(&Shape {
        options: CreateOptions::new(256 << 20),
        stride: 30,
    });
}
