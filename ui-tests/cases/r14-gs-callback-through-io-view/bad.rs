//! Rule R14: A global-state callback of a driver is not reached through the I/O view.
//! QEMU: V156, bdrv_co_change_backing_file() calls a callback that is sorted as global state.
//! Shape: trait-object.
//! Why: The I/O view shows `dyn DriverIo`, and the callback is one of `BlockDriver`.

use block_gs::{BlockDriver, BqlGuard};
use block_io::{Activity, Request};
use ui_tests::{in_main_loop, null, overlay};

fn bdrv_co_change_backing_file(request: Request<'_>) -> bool {
    BlockDriver::supports_backing(request.node().driver())
    //~^ E0277 "is not the global-state half of a driver"
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let counted = Activity::try_begin(top.io()).expect("not quiesced");
        assert!(bdrv_co_change_backing_file(counted.request()));
        assert!(top.view(bql).driver().supports_backing());
        Ok(())
    });
}
