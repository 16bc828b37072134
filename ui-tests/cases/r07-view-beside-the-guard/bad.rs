//! Rule R7: A function that may poll does not get a view beside the guard.
//! QEMU: None recorded. A node that is passed on is a pointer, and what polls may free it.
//! Shape: argument.
//! Why: The call would borrow the guard exclusively and for the view.

use block_gs::{BqlGuard, NodeView};
use std::time::Duration;
use ui_tests::{in_main_loop, null};

fn settle(bql: &mut BqlGuard, node: NodeView<'_>) -> u32 {
    bql.run_for(Duration::ZERO);
    node.quiesce_count()
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        assert_eq!(settle(bql, node.view(bql)), 0);
        //~^ E0502 "cannot borrow `*bql` as mutable because it is also borrowed as immutable"
        Ok(())
    });
}
