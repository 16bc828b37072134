//! Rule R16: An outer section does not end before an inner one.
//! QEMU: None recorded. Drained sections are counters there, and know no order.
//! Shape: order.
//! Why: The inner section borrows the outer one.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (a, b) = (null(bql, "a"), null(bql, "b"));
        let mut outer = a.drain(bql);
        let inner = outer.also(&b);
        outer.end();
        //~^ E0505 "cannot move out of `outer` because it is borrowed"
        inner.end();
        Ok(())
    });
}
