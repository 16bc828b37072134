//! Rule R6: Nothing polls behind the back of a section over everything.
//! QEMU: None recorded. bdrv_drain_all_begin() does not keep its caller from polling.
//! Shape: order.
//! Why: The section borrows the guard exclusively, and lends it on with `with`.

use block_gs::{BqlGuard, drain_all};
use std::time::Duration;
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let mut section = drain_all(bql);
        bql.run_for(Duration::ZERO);
        //~^ E0499 "cannot borrow `*bql` as mutable more than once at a time"
        let count = section.with(|bql| node.view(bql).quiesce_count());
        assert_eq!(count, 1);
        Ok(())
    });
}
