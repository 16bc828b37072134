//! Limit: The future of a read can be forgotten, and its request ended: no section waits for
//! it then.
//! QEMU: a request whose count is given back while its coroutine still runs.
//! Why: `mem::forget` ends the borrow. Memory stays safe, because transfers own a share of it.

use block_gs::{BlockDriver, BqlGuard, NodeBuilder};
use block_io::{Buffer, Destination, DriverIo, IoFuture, Request};
use std::sync::Arc;
use ui_tests::{disk, in_main_loop};

struct Slow;

impl DriverIo for Slow {
    fn read<'r>(&'r self, _: Request<'r>, _: u64, _: Destination<'r>) -> IoFuture<'r> {
        IoFuture::new(std::future::pending())
    }

    fn length<'r>(&'r self, _: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(512))
    }
}

impl BlockDriver for Slow {
    fn format_name(&self) -> &'static str {
        "slow"
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = NodeBuilder::new("node").open(bql, Arc::new(Slow))?;
        let disk = disk(bql, "disk", &node);
        let mut buffer = Buffer::zeroed(512);
        let in_flight = disk.root().try_begin().expect("not quiesced");
        std::mem::forget(in_flight.request()?.read(0, buffer.destination()));
        drop(in_flight);
        node.drain(bql).end();
        assert!(buffer.is_idle());
        Ok(())
    });
}
