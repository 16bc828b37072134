//! Twin of bad.rs: without a guard nothing is looked up.

use block_gs::{BqlGuard, nodes};
use ui_tests::{in_main_loop, null};

fn node_count(lent: Option<&BqlGuard>) -> usize {
    lent.map_or(0, |bql| nodes(bql).count())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let _node = null(bql, "node");
        assert_eq!((node_count(Some(bql)), node_count(None)), (1, 0));
        Ok(())
    });
}
