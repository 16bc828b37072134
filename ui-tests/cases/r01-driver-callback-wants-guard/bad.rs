//! Rule R1: The I/O half of a driver gets no proof of global state, also by asking for one.
//! QEMU: V056, raw_co_pwritev() -> bdrv_probe_all().
//! Shape: argument.
//! Why: The signature of the callback is the category of the function.

use block_gs::{BlockDriver, BqlGuard, NodeBuilder, Role, nodes};
use block_io::{Buffer, Destination, DriverIo, IoFuture, Request};
use ui_tests::{disk, in_main_loop, null};

struct ProbedRaw;

impl DriverIo for ProbedRaw {
    fn read<'r>(
        &'r self,
        bql: &'r BqlGuard,
        //~^^ E0050 "method `read` has 5 parameters"
        request: Request<'r>,
        offset: u64,
        into: Destination<'r>,
    ) -> IoFuture<'r> {
        assert!(nodes(bql).count() > 0);
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
