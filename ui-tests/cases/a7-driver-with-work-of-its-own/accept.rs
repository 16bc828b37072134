//! Accept A7: A driver that works in the background needs no `unsafe` either.
//! QEMU: bdrv_inc_in_flight() around a coroutine that a driver has started.
//! Why: `Request::activity` counts the work at the node, so sections wait for it.

#![forbid(unsafe_code)]
use block_gs::{BlockDriver, BqlGuard, NodeBuilder};
use block_io::aio::yield_now;
use block_io::{Destination, DriverIo, IoFuture, Request};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use ui_tests::{SIZE, disk, in_main_loop};

struct Prefetching {
    this: Weak<Self>,
    prefetched: AtomicU32,
}

impl DriverIo for Prefetching {
    fn read<'r>(
        &'r self,
        request: Request<'r>,
        _offset: u64,
        mut into: Destination<'r>,
    ) -> IoFuture<'r> {
        into.fill(0);
        let (activity, this) = (request.activity(), self.this.clone());
        let background = request.node().spawn(async move {
            yield_now().await;
            let this = this.upgrade().expect("a driver of a counted node");
            this.prefetched.fetch_add(1, Ordering::Relaxed);
            drop(activity);
        });
        background.detach();
        IoFuture::done()
    }

    fn length<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(SIZE))
    }
}

impl BlockDriver for Prefetching {
    fn format_name(&self) -> &'static str {
        "prefetching"
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let driver = Arc::new_cyclic(|this: &Weak<Prefetching>| Prefetching {
            this: this.clone(),
            prefetched: AtomicU32::new(0),
        });
        let node = NodeBuilder::new("node").open(bql, driver.clone())?;
        let disk = disk(bql, "disk", &node);
        let mut buffer = block_io::Buffer::zeroed(512);
        disk.read_blocking(bql, 0, buffer.destination())?;
        node.drain(bql).end();
        assert_eq!(driver.prefetched.load(Ordering::Relaxed), 1);
        Ok(())
    });
}
