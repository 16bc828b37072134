//! Twin of bad.rs: the helper is generic over the two proofs that there are.

use block_gs::{Backend, BqlGuard, MainOrHome, WaitError};
use ui_tests::{SIZE, disk, in_main_loop, null};

fn length(at: &mut impl MainOrHome, disk: &Backend) -> Result<u64, WaitError> {
    disk.length_blocking(at)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        assert_eq!(length(bql, &disk)?, SIZE);
        Ok(())
    });
}
