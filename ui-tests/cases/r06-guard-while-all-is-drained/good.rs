//! Twin of bad.rs: the section lends it.

use block_gs::{BqlGuard, drain_all};
use std::time::Duration;
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let mut section = drain_all(bql);
        let count = section.with(|bql| {
            bql.run_for(Duration::ZERO);
            node.view(bql).quiesce_count()
        });
        assert_eq!(count, 1);
        Ok(())
    });
}
