//! Requests that complete at once leave room for others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use block_drivers::NullCo;
use block_io::Buffer;
use block_io::aio::yield_now;

use crate::support::{READ_WRITE, backend, in_layer};

/// A task that only reads from a device without latency never waits by
/// itself.
#[test]
fn a_million_reads_let_another_task_run_in_between() {
    in_layer(|bql| {
        let node = NullCo::new(1 << 20).open(bql, "null").expect("opened");
        let disk = backend(bql, &node, READ_WRITE);
        let over = Arc::new(AtomicBool::new(false));
        let turns = Arc::new(AtomicU64::new(0));
        let (ended, counted) = (Arc::clone(&over), Arc::clone(&turns));
        let other = bql.context().spawn(async move {
            while !ended.load(Ordering::Relaxed) {
                counted.fetch_add(1, Ordering::Relaxed);
                yield_now().await;
            }
        });
        let root = disk.root().clone();
        let busy = bql.context().spawn(async move {
            let mut buffer = Buffer::zeroed(512);
            for _ in 0..1_000_000 {
                root.read(0, buffer.destination()).await.expect("read");
            }
            over.store(true, Ordering::Relaxed);
        });
        bql.block_on(busy);
        bql.block_on(other);
        assert!(turns.load(Ordering::Relaxed) > 1000);
    });
}

/// And a section over the device need not wait for the million.
#[test]
fn a_section_comes_in_between() {
    in_layer(|bql| {
        let node = NullCo::new(1 << 20).open(bql, "null").expect("opened");
        let disk = backend(bql, &node, READ_WRITE);
        let done = Arc::new(AtomicU64::new(0));
        let (root, counted) = (disk.root().clone(), Arc::clone(&done));
        let busy = bql.context().spawn(async move {
            let mut buffer = Buffer::zeroed(512);
            for _ in 0..1_000_000 {
                root.read(0, buffer.destination()).await.expect("read");
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        let began = Arc::clone(&done);
        bql.poll_until(|_| began.load(Ordering::Relaxed) > 0);
        drop(node.drain(bql));
        assert!(done.load(Ordering::Relaxed) < 1_000_000);
        bql.block_on(busy);
    });
}
