//! Rule R14: A driver found in a static does not tell I/O code what only the main thread may
//! ask.
//! QEMU: V056, raw_co_pwritev() -> bdrv_probe_all() -> BlockDriver.bdrv_probe.
//! Shape: static.
//! Why: The callback takes a `&BqlGuard`, wherever the driver was found.

use block_gs::{BlockDriver, BlockLimits, BqlGuard};
use ui_tests::{Overlay, in_main_loop};

static DRIVERS: &[&dyn BlockDriver] = &[&Overlay];

fn all_have_limits() -> bool {
    let mut limits = BlockLimits::default();
    DRIVERS
        .iter()
        .all(|driver| driver.refresh_limits(&mut limits).is_ok())
    //~^ E0061 "argument #1 of type `&BqlGuard` is missing"
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        assert!(all_have_limits(), "{bql:?}");
        Ok(())
    });
}
