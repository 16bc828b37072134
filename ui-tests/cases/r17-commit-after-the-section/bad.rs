//! Rule R17: A transaction is not committed after its section has ended.
//! QEMU: 10.0.2, comments say that a transaction may only be completed while holding a writer
//! lock.
//! Shape: order.
//! Why: The transaction borrows the section exclusively.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (old, new) = (null(bql, "old"), null(bql, "new"));
        let top = overlay(bql, "top", &old);
        let mut section = top.drain(bql);
        let mut changes = section.transaction();
        changes.set_backing(Some(&new));
        section.end();
        //~^ E0505 "cannot move out of `section` because it is borrowed"
        changes.commit()?;
        assert_eq!(new.view(bql).parents().count(), 1);
        Ok(())
    });
}
