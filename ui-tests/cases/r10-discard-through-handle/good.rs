//! Twin of bad.rs: the root begins a request.

use block_gs::BqlGuard;
use block_io::{InFlight, IoFuture, Request};
use ui_tests::{disk, in_main_loop, null};

fn discard<'r>(in_flight: &'r InFlight<'_>) -> IoFuture<'r> {
    let request = in_flight.request();
    request.map_or_else(IoFuture::failed, |request: Request<'r>| {
        request.discard(0, 512)
    })
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let in_flight = disk.root().try_begin().expect("not quiesced");
        assert!(bql.block_on(discard(&in_flight)).is_ok());
        Ok(())
    });
}
