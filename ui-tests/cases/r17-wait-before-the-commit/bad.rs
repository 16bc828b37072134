//! Rule R17: Nothing is waited for between noting a change and committing it.
//! QEMU: None recorded. A transaction that polls between two of its steps shows a graph half
//! changed.
//! Shape: order.
//! Why: The plan borrows the section, through which one would wait.

use block_gs::BqlGuard;
use block_io::aio::yield_now;
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let mut section = top.drain(bql);
        let mut changes = section.transaction();
        changes.set_backing(None);
        section.block_on(yield_now());
        //~^ E0499 "cannot borrow `section` as mutable more than once at a time"
        changes.commit()?;
        assert_eq!(top.view(&section).children().count(), 0);
        Ok(())
    });
}
