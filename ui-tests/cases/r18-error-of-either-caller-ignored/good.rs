//! Twin of bad.rs: it is returned.

#![deny(unused_must_use)]

use block_gs::{Backend, BqlGuard, MainOrHome, WaitError};
use ui_tests::{disk, in_main_loop, null};

fn bdrv_flush<P: MainOrHome>(at: &mut P, disk: &Backend) -> Result<(), WaitError> {
    disk.flush_blocking(at)?;
    Ok(())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        Ok(bdrv_flush(bql, &disk)?)
    });
}
