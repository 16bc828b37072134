//! Twin of bad.rs: the function gets the proof of the main thread.

use block_gs::{Backend, BqlGuard, MainOrHome};
use ui_tests::{Outcome, disk, in_main_loop, null};

fn bdrv_flush<P: MainOrHome>(at: &mut P, disk: &Backend) -> Outcome {
    Ok(disk.flush_blocking(at)?)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let in_flight = disk.root().try_begin().expect("not quiesced");
        drop(in_flight);
        bdrv_flush(bql, &disk)
    });
}
