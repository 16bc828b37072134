//! Twin of bad.rs: the guard is lent on, which leaves it where it is.

use block_gs::{BqlGuard, nodes};
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let _node = null(bql, "node");
        let lent = &mut *bql;
        assert_eq!(nodes(lent).count(), 1);
        Ok(())
    });
}
