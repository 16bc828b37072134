//! Rule R17: A function over any plans gets one of a section at a time.
//! QEMU: None recorded. Any number of transactions can be begun, and completed in any order.
//! Shape: generic.
//! Why: Each plan borrows its section exclusively; one plan holds any number of changes.

use block_gs::{BqlGuard, GraphError, Transaction};
use ui_tests::{in_main_loop, null, overlay};

fn commit_all<'t>(all: impl IntoIterator<Item = Transaction<'t>>) -> Result<(), GraphError> {
    all.into_iter().try_for_each(Transaction::commit)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let mut section = top.drain(bql);
        commit_all([section.transaction(), section.transaction()])?;
        //~^ E0499 "cannot borrow `section` as mutable more than once at a time"
        assert_eq!(top.view(&section).children().count(), 1);
        Ok(())
    });
}
