//! Rule R17: A plan is not put aside for the next callback to commit.
//! QEMU: None recorded. A transaction is a list in the heap, and anybody can complete it.
//! Shape: static.
//! Why: The plan borrows the section, which is lent for one call.

use block_gs::{BqlGuard, Drained, Transaction};
use std::cell::RefCell;
use ui_tests::{in_main_loop, null, overlay};

thread_local! {
    static NOTED: RefCell<Option<Transaction<'static>>> = const { RefCell::new(None) };
}

fn unplug(section: &'static mut Drained<'static>) {
    NOTED.set(Some(section.transaction()));
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let section = Box::leak(Box::new(top.drain(bql)));
        unplug(section);
        //~^ E0521 "`bql` escapes the closure body here"
        Ok(())
    });
}
