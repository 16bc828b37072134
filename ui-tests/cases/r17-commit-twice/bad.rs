//! Rule R17: A transaction is committed once.
//! QEMU: None recorded. tran_commit() frees what its caller still points to.
//! Shape: order.
//! Why: Committing takes the plan by value.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (old, new) = (null(bql, "old"), null(bql, "new"));
        let top = overlay(bql, "top", &old);
        let mut section = top.drain(bql);
        let mut changes = section.transaction();
        changes.set_backing(Some(&new));
        changes.commit()?;
        changes.set_backing(None);
        //~^ E0382 "borrow of moved value: `changes`"
        changes.commit()?;
        assert_eq!(top.view(&section).children().count(), 0);
        Ok(())
    });
}
