//! Rule R10: A driver does not read a child that it has kept instead of asking its request for
//! it.
//! QEMU: None recorded. `bs->file` is a field, and read by whoever has the node.
//! Shape: field.
//! Why: The node that is kept has a driver, whose functions take a request of that node.

use block_gs::{BlockDriver, BqlGuard, NodeBuilder, Role};
use block_io::{Buffer, Destination, DriverIo, IoFuture, IoNode, Request};
use std::sync::Arc;
use ui_tests::{SIZE, disk, in_main_loop, null};

struct Format {
    file: Arc<IoNode>,
}

impl DriverIo for Format {
    fn read<'r>(&'r self, request: Request<'r>, at: u64, into: Destination<'r>) -> IoFuture<'r> {
        assert_ne!(request.node().uid(), self.file.uid());
        self.file.driver().read(at, into)
        //~^ E0061 "argument #1 of type"
    }

    fn length<'r>(&'r self, _: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(SIZE))
    }
}

impl BlockDriver for Format {
    fn format_name(&self) -> &'static str {
        "format"
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let file = null(bql, "file");
        let format = NodeBuilder::new("format").child("file", &file, Role::IMAGE);
        let driver = Format {
            file: file.io().clone(),
        };
        let node = format.open(bql, Arc::new(driver))?;
        let mut buffer = Buffer::zeroed(512);
        disk(bql, "disk", &node).read_blocking(bql, 0, buffer.destination())?;
        Ok(())
    });
}
