//! Rule R7: An edge is not kept across a poll.
//! QEMU: V163, a comment in bdrv_drop_intermediate() fears it: a poll may free an edge in the list.
//! Shape: order.
//! Why: The edge borrows the guard, polling takes it exclusively.

use block_gs::BqlGuard;
use std::time::Duration;
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let edge = top.view(bql).child("backing").expect("a backing image");
        bql.run_for(Duration::ZERO);
        //~^ E0502 "cannot borrow `*bql` as mutable because it is also borrowed as immutable"
        assert_eq!(edge.child().name(), "base");
        Ok(())
    });
}
