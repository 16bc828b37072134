//! Twin of bad.rs: the function gets a handle.

use block_gs::{BqlGuard, Node};
use std::time::Duration;
use ui_tests::{in_main_loop, null};

fn settle(bql: &mut BqlGuard, node: &Node) -> u32 {
    bql.run_for(Duration::ZERO);
    node.view(bql).quiesce_count()
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        assert_eq!(settle(bql, &node), 0);
        Ok(())
    });
}
