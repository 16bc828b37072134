//! Rule R6: An outer section writes nothing while an inner one is open.
//! QEMU: None recorded. Drained sections are counters there, and know no order.
//! Shape: order.
//! Why: The inner section borrows the outer one exclusively.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (old, new) = (null(bql, "old"), null(bql, "new"));
        let (a, b) = (overlay(bql, "a", &old), overlay(bql, "b", &old));
        let mut outer = a.drain(bql);
        let mut inner = outer.also(&b);
        outer.set_backing(Some(&new))?;
        //~^ E0499 "cannot borrow `outer` as mutable more than once at a time"
        inner.set_backing(Some(&new))?;
        inner.end();
        assert_eq!(new.view(&outer).parents().count(), 2);
        Ok(())
    });
}
