//! Rule R17: There is no transaction without the write side.
//! QEMU: 10.0.2, comments say that a transaction may only be completed while holding a writer
//! lock.
//! Shape: receiver.
//! Why: `transaction` is a method of `Drained`.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (old, new) = (null(bql, "old"), null(bql, "new"));
        let top = overlay(bql, "top", &old);
        let mut changes = bql.transaction();
        //~^ E0277 "writing the graph takes a `Drained` section, and `BqlGuard` is none"
        changes.at(&top).set_backing(Some(&new));
        changes.commit()?;
        Ok(())
    });
}
