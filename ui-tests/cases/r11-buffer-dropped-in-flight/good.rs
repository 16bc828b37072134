//! Twin of bad.rs: the buffer is the caller's.

use block_gs::BqlGuard;
use block_io::{Activity, Buffer, IoFuture, Request};
use ui_tests::{in_main_loop, null};

fn prefetch<'r>(request: Request<'r>, buffer: &'r mut Buffer) -> IoFuture<'r> {
    request.read(0, buffer.destination())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let counted = Activity::try_begin(node.io()).expect("not quiesced");
        let mut buffer = Buffer::zeroed(512);
        bql.block_on(prefetch(counted.request(), &mut buffer))?;
        Ok(())
    });
}
