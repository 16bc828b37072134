//! Rule R7: The overlay that was found above a node is not kept across a drain.
//! QEMU: None recorded. bdrv_find_overlay() returns a pointer, and its callers drain next.
//! Shape: order.
//! Why: What is found in the graph borrows the guard, the drain takes it exclusively.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let found = top.view(bql).find_overlay(Some(base.view(bql)));
        let found = found.expect("an overlay");
        let section = base.drain(bql);
        //~^ E0502 "cannot borrow `*bql` as mutable because it is also borrowed as immutable"
        assert_eq!(found.name(), "top");
        section.end();
        Ok(())
    });
}
