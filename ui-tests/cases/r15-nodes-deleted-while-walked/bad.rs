//! Rule R15: A node is not deleted while the nodes are walked.
//! QEMU: None recorded. bdrv_unref() may free the node that a walk stands on.
//! Shape: argument.
//! Why: The walk borrows the guard, deleting takes it exclusively.

use block_gs::{BqlGuard, GraphError, nodes};
use ui_tests::{in_main_loop, null};

fn delete_all(bql: &mut BqlGuard) -> Result<(), GraphError> {
    for view in nodes(bql) {
        view.node(bql).delete(bql)?;
        //~^ E0502 "cannot borrow `*bql` as mutable because it is also borrowed as immutable"
    }
    Ok(())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        null(bql, "a").set_monitor_owned(bql);
        null(bql, "b").set_monitor_owned(bql);
        delete_all(bql)?;
        bql.poll_until(|bql| nodes(bql).count() == 0);
        Ok(())
    });
}
