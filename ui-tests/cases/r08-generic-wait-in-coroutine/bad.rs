//! Rule R8: A function for both kinds of proof takes no count for a third kind.
//! QEMU: V031-V038, the drain family polls and was declared I/O.
//! Shape: generic.
//! Why: `InFlight` is what a coroutine has, and not among the implementations of `MainOrHome`.

use block_gs::{Backend, BqlGuard, MainOrHome};
use ui_tests::{Outcome, disk, in_main_loop, null};

fn bdrv_flush<P: MainOrHome>(at: &mut P, disk: &Backend) -> Outcome {
    Ok(disk.flush_blocking(at)?)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let mut in_flight = disk.root().try_begin().expect("not quiesced");
        bdrv_flush(&mut in_flight, &disk)
        //~^ E0277 "waiting for I/O needs a proof of the main thread or of the home thread"
    });
}
