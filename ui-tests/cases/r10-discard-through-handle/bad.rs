//! Rule R10: Nothing is discarded through the handle of a backend.
//! QEMU: None recorded. blk_pdiscard() begins its request itself, and may be called from
//! anywhere.
//! Shape: receiver.
//! Why: I/O functions are methods of `Request`, and of `Root`, which begins one.

use block_gs::BqlGuard;
use block_io::{InFlight, IoFuture};
use ui_tests::{disk, in_main_loop, null};

fn discard<'r>(in_flight: &'r InFlight<'_>) -> IoFuture<'r> {
    in_flight.request().discard(0, 512)
    //~^ E0599 "no method named `discard` found for enum `Result<T, E>`"
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
