//! Limit: A request that its driver never completes is in flight until it is dropped.
//! QEMU: a request to a server that does not answer; bdrv_drain() waits for it.
//! Why: No type says when a future is ready. A section waits, and dropping the request ends
//! it.

use block_gs::{BlockDriver, BqlGuard, NodeBuilder};
use block_io::{Buffer, Destination, DriverIo, IoFuture, Request};
use std::sync::Arc;
use std::task::{Context, Waker};
use ui_tests::{disk, in_main_loop};

struct Silent;

impl DriverIo for Silent {
    fn read<'r>(&'r self, _: Request<'r>, _: u64, _: Destination<'r>) -> IoFuture<'r> {
        IoFuture::new(std::future::pending())
    }

    fn length<'r>(&'r self, _: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(512))
    }
}

impl BlockDriver for Silent {
    fn format_name(&self) -> &'static str {
        "silent"
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = NodeBuilder::new("node").open(bql, Arc::new(Silent))?;
        let disk = disk(bql, "disk", &node);
        let mut buffer = Buffer::zeroed(512);
        let mut read = Box::pin(disk.root().read(0, buffer.destination()));
        let mut context = Context::from_waker(Waker::noop());
        assert!(read.as_mut().poll(&mut context).is_pending());
        assert_eq!(disk.root().in_flight(), 1);
        drop(read);
        node.drain(bql).end();
        Ok(())
    });
}
