//! Rule R7: Not even a name borrowed from the graph is kept across a deletion.
//! QEMU: None recorded. `bs->node_name` lies in the node, and is freed with it.
//! Shape: order.
//! Why: What is reached through a view borrows the guard as the view does.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        node.set_monitor_owned(bql);
        let name = node.view(bql).name();
        node.clone().delete(bql)?;
        //~^ E0502 "cannot borrow `*bql` as mutable because it is also borrowed as immutable"
        assert_eq!(name, "node");
        Ok(())
    });
}
