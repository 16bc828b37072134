//! Twin of bad.rs: the function asks the global-state half.

use block_gs::{BlockDriver, BqlGuard};
use ui_tests::{Overlay, in_main_loop};

fn bdrv_is_ready<D: BlockDriver>(driver: &D, bql: &mut BqlGuard) -> bool {
    driver.drain_begin(bql);
    driver.drain_end(bql);
    driver.supports_backing()
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        assert!(bdrv_is_ready(&Overlay, bql));
        Ok(())
    });
}
