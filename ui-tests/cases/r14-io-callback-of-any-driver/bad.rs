//! Rule R14: A global-state function over any driver does not call I/O callbacks with its own
//! proof.
//! QEMU: V099, V109, functions of the I/O header with a global-state assertion inside.
//! Shape: generic.
//! Why: A `BlockDriver` is a `DriverIo` too, whose functions take a counted `Request`.

use block_gs::{BlockDriver, BqlGuard};
use ui_tests::{Overlay, in_main_loop};

fn bdrv_is_ready<D: BlockDriver>(driver: &D, bql: &mut BqlGuard) -> bool {
    driver.flush(bql).into_ready().is_ok()
    //~^ E0308 "expected `Request<'_>`, found `&mut BqlGuard`"
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        assert!(bdrv_is_ready(&Overlay, bql));
        Ok(())
    });
}
