//! Twin of bad.rs: the caller has the proof.

use block_gs::{BlockDriver, BlockLimits, BqlGuard};
use ui_tests::{Overlay, in_main_loop};

static DRIVERS: &[&dyn BlockDriver] = &[&Overlay];

fn all_have_limits(bql: &BqlGuard) -> bool {
    let mut limits = BlockLimits::default();
    DRIVERS
        .iter()
        .all(|driver| driver.refresh_limits(bql, &mut limits).is_ok())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        assert!(all_have_limits(bql), "{bql:?}");
        Ok(())
    });
}
