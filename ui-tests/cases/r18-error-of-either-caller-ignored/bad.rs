//! Rule R18: A function for both kinds of caller does not ignore for them that waiting has
//! failed.
//! QEMU: None recorded. The result of a function can be ignored in C.
//! Shape: generic.
//! Why: What waits returns a `Result` whoever calls it.

#![deny(unused_must_use)]

use block_gs::{Backend, BqlGuard, MainOrHome, WaitError};
use ui_tests::{disk, in_main_loop, null};

fn bdrv_flush<P: MainOrHome>(at: &mut P, disk: &Backend) -> Result<(), WaitError> {
    disk.flush_blocking(at);
    //~^ "unused `Result` that must be used"
    Ok(())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        Ok(bdrv_flush(bql, &disk)?)
    });
}
