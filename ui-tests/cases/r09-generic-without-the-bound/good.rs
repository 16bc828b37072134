//! Twin of bad.rs: the bound is there.

use block_gs::{Backend, BqlGuard, MainOrHome};
use ui_tests::{SIZE, disk, in_main_loop, null};

fn length_of<P: MainOrHome>(at: &mut P, disk: &Backend) -> u64 {
    disk.length_blocking(at).expect("a length")
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        assert_eq!(length_of(bql, &disk), SIZE);
        Ok(())
    });
}
