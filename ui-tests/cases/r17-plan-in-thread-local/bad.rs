//! Rule R17: A plan is not put aside for the next callback to commit.
//! QEMU: None recorded. A transaction is a list in the heap, and anybody can complete it.
//! Shape: static.
//! Why: The plan borrows the section, and that the guard of this callback.

use block_gs::{BqlGuard, Transaction};
use std::cell::RefCell;
use ui_tests::{in_main_loop, null, overlay};

thread_local! {
    static NOTED: RefCell<Option<Transaction<'static>>> = const { RefCell::new(None) };
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let section = Box::leak(Box::new(top.drain(bql)));
        NOTED.set(Some(section.transaction()));
        //~^ E0521 "borrowed data escapes outside of closure"
        Ok(())
    });
}
