//! Twin of bad.rs: what the callback needs is I/O, and the request is the proof for that.

use block_gs::{BlockDriver, BqlGuard, NodeBuilder, Role};
use block_io::{Buffer, Destination, DriverIo, IoFuture, Request};
use ui_tests::{disk, in_main_loop, null};

struct ProbedRaw;

impl DriverIo for ProbedRaw {
    fn read<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        into: Destination<'r>,
    ) -> IoFuture<'r> {
        assert_eq!(request.children().iter().count(), 1);
        request
            .file()
            .map_or_else(IoFuture::failed, |file| file.read(offset, into))
    }

    fn length<'r>(&'r self, request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(request.file().map(|file| file.node().length()))
    }
}

impl BlockDriver for ProbedRaw {
    fn format_name(&self) -> &'static str {
        "probed-raw"
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let file = null(bql, "file");
        let probed = NodeBuilder::new("probed").child("file", &file, Role::IMAGE);
        let node = probed.open(bql, std::sync::Arc::new(ProbedRaw))?;
        let mut buffer = Buffer::zeroed(512);
        disk(bql, "disk", &node).read_blocking(bql, 0, buffer.destination())?;
        Ok(())
    });
}
