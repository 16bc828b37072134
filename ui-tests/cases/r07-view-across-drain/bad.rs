//! Rule R7: A view of a node is not kept across a drain.
//! QEMU: V081, drained_begin callbacks poll, and the graph changes under the caller.
//! Shape: order.
//! Why: The view borrows the guard, the drain takes it exclusively.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, other) = (null(bql, "node"), null(bql, "other"));
        let view = node.view(bql);
        let section = other.drain(bql);
        //~^ E0502 "cannot borrow `*bql` as mutable because it is also borrowed as immutable"
        assert_eq!(view.quiesce_count(), 0);
        assert_eq!(section.node(), &other);
        Ok(())
    });
}
