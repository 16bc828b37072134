//! Rule R9: A function in between cannot leave open from where it is called.
//! QEMU: V031-V038, the drain family polls and was declared I/O; IO_OR_GS_CODE() checks
//! nothing.
//! Shape: generic.
//! Why: Its caller must bring one of the two proofs, so it has to ask for one.

use block_gs::{Backend, BqlGuard};
use ui_tests::{SIZE, disk, in_main_loop, null};

fn length_of<P>(at: &mut P, disk: &Backend) -> u64 {
    disk.length_blocking(at).expect("a length")
    //~^ E0277 "waiting for I/O needs a proof of the main thread or of the home thread"
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        assert_eq!(length_of(bql, &disk), SIZE);
        Ok(())
    });
}
