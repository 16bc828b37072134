//! Accept A7: One driver with an I/O half and a global-state half needs no `unsafe`.
//! QEMU: struct BlockDriver, whose callbacks are of all categories.
//! Why: Each half gets its proof as an argument, each kind of state has its cell.

#![forbid(unsafe_code)]
use block_gs::{BlockDriver, BqlCell, BqlGuard, NodeBuilder, Role};
use block_io::{Buffer, Destination, DriverIo, GraphCell, IoError, IoFuture, Request};
use std::{cell::Cell, sync::Arc};
use ui_tests::{disk, in_main_loop, null};

struct Filter {
    fill: GraphCell<Option<u8>>,
    drains: BqlCell<Cell<u32>>,
}

impl DriverIo for Filter {
    fn read<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        mut into: Destination<'r>,
    ) -> IoFuture<'r> {
        if let Some(byte) = *self.fill.get(request) {
            into.fill(byte);
            return IoFuture::done();
        }
        request
            .file()
            .map_or_else(IoFuture::failed, |file| file.read(offset, into))
    }

    fn length<'r>(&'r self, request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(request.file().map(|file| file.node().length()))
    }
}

impl BlockDriver for Filter {
    fn format_name(&self) -> &'static str {
        "fill"
    }

    fn drain_begin(&self, bql: &BqlGuard) {
        let drains = self.drains.get(bql);
        drains.set(drains.get() + 1);
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let file = null(bql, "file");
        let builder = NodeBuilder::new("fill").child("file", &file, Role::IMAGE);
        let driver = Arc::new(Filter {
            fill: GraphCell::new(builder.uid(), None),
            drains: BqlCell::new(bql, Cell::new(0)),
        });
        let node = builder.open(bql, driver.clone())?;
        let before = driver.drains.get(bql).get();
        node.drain(bql).set(&driver.fill, Some(7));
        assert_eq!(driver.drains.get(bql).get(), before + 1);
        let mut buffer = Buffer::zeroed(512);
        disk(bql, "disk", &node).read_blocking(bql, 0, buffer.destination())?;
        assert_eq!(buffer.as_slice()[0], 7);
        Ok(())
    });
}
