//! Twin of bad.rs: the request is asked for the child.

use block_gs::BqlGuard;
use block_io::{Destination, DriverIo, IoFuture, Request};
use ui_tests::{in_main_loop, null};

struct Format;

impl DriverIo for Format {
    fn read<'r>(&'r self, request: Request<'r>, at: u64, into: Destination<'r>) -> IoFuture<'r> {
        request
            .file()
            .map_or_else(IoFuture::failed, |file| file.read(at, into))
    }

    fn length<'r>(&'r self, _: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(512))
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (_file, format) = (null(bql, "file"), Format);
        assert!(!format.capabilities().passes_through);
        Ok(())
    });
}
