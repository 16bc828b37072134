//! Rule R9: The two kinds of proof are not hidden behind `dyn`.
//! QEMU: None recorded. IO_OR_GS_CODE() does not say which of the two it is.
//! Shape: trait-object.
//! Why: `MainOrHome` has a generic function and is sealed, so no object of it can be made.

use block_gs::{Backend, BqlGuard, MainOrHome};
use ui_tests::{SIZE, disk, in_main_loop, null};

trait Caller {
    fn proof(&mut self) -> &mut dyn MainOrHome;
    //~^ E0038 "the trait `MainOrHome` is not dyn compatible"
    fn disk(&self) -> &Backend;
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        assert_eq!(disk.length_blocking(bql)?, SIZE);
        Ok(())
    });
}
