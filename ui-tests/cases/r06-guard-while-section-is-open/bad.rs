//! Rule R6: Nothing polls behind the back of a drained section.
//! QEMU: None recorded. Polling inside a drained section needs nothing but the section of code.
//! Shape: order.
//! Why: The section borrows the guard exclusively for as long as it is used.

use block_gs::BqlGuard;
use std::time::Duration;
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (old, new) = (null(bql, "old"), null(bql, "new"));
        let top = overlay(bql, "top", &old);
        let mut section = top.drain(bql);
        bql.run_for(Duration::ZERO);
        //~^ E0499 "cannot borrow `*bql` as mutable more than once at a time"
        section.set_backing(Some(&new))?;
        Ok(())
    });
}
