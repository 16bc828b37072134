//! Accept A7: A driver that contains any other one, whichever it is, needs no `unsafe` either.
//! QEMU: a filter that passes on every callback of the driver below.
//! Why: Both halves are traits, and every proof is an argument that can be passed on.

#![forbid(unsafe_code)]
use block_gs::{BlockDriver, BqlGuard, NodeBuilder, Role};
use block_io::{Buffer, Destination, DriverIo, IoFuture, Request};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use ui_tests::{Overlay, disk, in_main_loop, null};

struct Counting<D> {
    inner: D,
    reads: AtomicU32,
}

impl<D: DriverIo> DriverIo for Counting<D> {
    fn read<'r>(&'r self, request: Request<'r>, at: u64, into: Destination<'r>) -> IoFuture<'r> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.read(request, at, into)
    }

    fn length<'r>(&'r self, request: Request<'r>) -> IoFuture<'r, u64> {
        self.inner.length(request)
    }
}

impl<D: BlockDriver> BlockDriver for Counting<D> {
    fn format_name(&self) -> &'static str {
        self.inner.format_name()
    }

    fn supports_backing(&self) -> bool {
        self.inner.supports_backing()
    }

    fn drain_begin(&self, bql: &BqlGuard) {
        self.inner.drain_begin(bql);
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (base, reads) = (null(bql, "base"), AtomicU32::new(0));
        let driver = Arc::new(Counting {
            inner: Overlay,
            reads,
        });
        let node = NodeBuilder::new("top").child("backing", &base, Role::COW);
        let node = node.open(bql, driver.clone())?;
        let mut buffer = Buffer::zeroed(512);
        disk(bql, "disk", &node).read_blocking(bql, 0, buffer.destination())?;
        assert_eq!(driver.reads.load(Ordering::Relaxed), 1);
        assert_eq!(node.view(bql).driver().format_name(), "overlay");
        Ok(())
    });
}
