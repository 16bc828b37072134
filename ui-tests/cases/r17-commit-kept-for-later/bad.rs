//! Rule R17: A commit is not kept for after the end of the section.
//! QEMU: None recorded. A transaction is completed by a list of callbacks, whenever it is run.
//! Shape: closure.
//! Why: The closure contains the plan, and that borrows the section.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let mut section = top.drain(bql);
        let mut changes = section.transaction();
        changes.set_backing(None);
        let commit = || changes.commit();
        section.end();
        //~^ E0505 "cannot move out of `section` because it is borrowed"
        commit()?;
        assert_eq!(top.view(bql).children().count(), 0);
        Ok(())
    });
}
