//! Rule R18: What a driver returns through `dyn DriverIo` is not ignored.
//! QEMU: 10.0.2, a read error in a read-modify-write cycle is dropped, and the write says that
//! it succeeded.
//! Shape: trait-object.
//! Why: Every function of the trait returns an `IoFuture`, which is `must_use`.

#![deny(unused_must_use)]

use block_gs::BqlGuard;
use block_io::{Activity, DriverIo, IoError, Request};
use ui_tests::{in_main_loop, null};

async fn flush(driver: &dyn DriverIo, request: Request<'_>) -> Result<(), IoError> {
    driver.flush(request);
    //~^ "a request does nothing until it is awaited, and its result must be looked at"
    Ok(())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let counted = Activity::try_begin(node.io()).expect("not quiesced");
        bql.block_on(flush(node.io().driver(), counted.request()))?;
        Ok(())
    });
}
