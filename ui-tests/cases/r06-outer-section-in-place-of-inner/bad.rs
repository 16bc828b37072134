//! Rule R6: An outer section does not take the place of an inner one.
//! QEMU: None recorded. Drained sections are counters there, and know no order.
//! Shape: order.
//! Why: The inner section borrows the outer one for as long as it lives; in its place the
//! outer one would have to live as long.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (a, b) = (null(bql, "a"), null(bql, "b"));
        let mut outer = a.drain(bql);
        let mut inner = outer.also(&b);
        //~^ E0597 "`outer` does not live long enough"
        let was_inner = std::mem::replace(&mut inner, outer);
        //~^ E0505 "cannot move out of `outer` because it is borrowed"
        assert_eq!((was_inner.node(), inner.node()), (&b, &a));
        Ok(())
    });
}
