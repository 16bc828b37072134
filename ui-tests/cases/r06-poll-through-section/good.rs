//! Twin of bad.rs: it polls through the section, which stays borrowed meanwhile.

use block_gs::BqlGuard;
use block_io::aio::sleep;
use std::time::Duration;
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let mut section = node.drain(bql);
        section.block_on(sleep(Duration::ZERO));
        assert_eq!(node.view(&section).quiesce_count(), 1);
        Ok(())
    });
}
