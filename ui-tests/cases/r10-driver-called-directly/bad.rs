//! Rule R10: The I/O half of a driver is not called without a request.
//! QEMU: None recorded. The callbacks of a driver can be called by whoever has the pointer.
//! Shape: trait-object.
//! Why: Every function of `DriverIo` takes the `Request`.

use block_gs::BqlGuard;
use block_io::IoFuture;
use ui_tests::{SIZE, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let length: IoFuture<'_, _> = node.io().driver().length();
        //~^ E0061 "argument #1 of type `block_io::Request<'_>` is missing"
        assert_eq!(bql.block_on(length)?, SIZE);
        Ok(())
    });
}
