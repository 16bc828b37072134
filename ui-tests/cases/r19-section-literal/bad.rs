//! Rule R19: Nobody makes a drained section without draining.
//! QEMU: None recorded. A section is begun by incrementing a counter.
//! Shape: literal.
//! Why: The fields are private; only `drain` and its relatives make one.

use block_gs::{BqlGuard, Drained};
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (old, new) = (null(bql, "old"), null(bql, "new"));
        let top = overlay(bql, "top", &old);
        let mut section = Drained {};
        //~^ "cannot construct `Drained<'_>` with struct literal syntax due to private fields"
        section.set_backing(Some(&new))?;
        Ok(())
    });
}
