//! Rule R15: No node is made while the nodes are walked.
//! QEMU: None recorded. Opening a node appends to the list that bdrv_next() walks.
//! Shape: order.
//! Why: The walk borrows the guard, making a node takes it exclusively.

use block_gs::{BqlGuard, nodes};
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let _base = null(bql, "base");
        for view in nodes(bql) {
            let filter = null(bql, &format!("{}-copy", view.name()));
            //~^ E0502 "cannot borrow `*bql` as mutable because it is also borrowed as immutable"
            assert_eq!(filter.name(), "base-copy");
        }
        Ok(())
    });
}
