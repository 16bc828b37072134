//! Rule R7: An iteration over the nodes that is kept in a struct does not live across a poll.
//! QEMU: None recorded. BdrvNextIterator is kept by its caller, whatever happens between two
//! steps.
//! Shape: field.
//! Why: The struct borrows the guard as the iterator does.

use block_gs::{BqlGuard, NodeView, nodes};
use std::time::Duration;
use ui_tests::{in_main_loop, null};

struct Walk<I> {
    rest: I,
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let _nodes = [null(bql, "a"), null(bql, "b")];
        let mut walk = Walk {
            rest: nodes(bql).map(NodeView::name),
        };
        let first = walk.rest.next();
        bql.run_for(Duration::ZERO);
        //~^ E0502 "cannot borrow `*bql` as mutable because it is also borrowed as immutable"
        assert_ne!(first, walk.rest.next());
        Ok(())
    });
}
