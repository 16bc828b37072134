//! Twin of bad.rs: the request is asked for the child.

use block_gs::{BlockDriver, BqlGuard, NodeBuilder, Role};
use block_io::{Buffer, Destination, DriverIo, IoFuture, Request};
use std::sync::Arc;
use ui_tests::{SIZE, disk, in_main_loop, null};

struct Format;

impl DriverIo for Format {
    fn read<'r>(&'r self, request: Request<'r>, at: u64, into: Destination<'r>) -> IoFuture<'r> {
        request
            .file()
            .map_or_else(IoFuture::failed, |file| file.read(at, into))
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
        let node = format.open(bql, Arc::new(Format))?;
        let mut buffer = Buffer::zeroed(512);
        disk(bql, "disk", &node).read_blocking(bql, 0, buffer.destination())?;
        Ok(())
    });
}
