//! Rule R17: A function does not get a section together with a plan that is for it.
//! QEMU: 10.0.2, comments say that a transaction may only be completed while holding a writer
//! lock.
//! Shape: argument.
//! Why: The plan borrows the section exclusively until it is committed.

use block_gs::{BqlGuard, Drained, GraphError, Transaction};
use ui_tests::{in_main_loop, null, overlay};

fn finish(section: Drained<'_>, changes: Transaction<'_>) -> Result<(), GraphError> {
    section.end();
    changes.commit()
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let mut section = top.drain(bql);
        let mut changes = section.transaction();
        changes.set_backing(None);
        finish(section, changes)?;
        //~^ E0505 "cannot move out of `section` because it is borrowed"
        assert_eq!(top.view(bql).children().count(), 0);
        Ok(())
    });
}
