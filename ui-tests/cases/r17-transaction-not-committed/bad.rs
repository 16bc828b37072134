//! Rule R17: A transaction that is not committed does nothing, and says so.
//! QEMU: None recorded. A transaction applies its steps at once, and has to be finished.
//! Shape: unused.
//! Why: The value is a plan and `must_use`; there is no state between begun and committed.

#![deny(unused_must_use)]
use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (old, new) = (null(bql, "old"), null(bql, "new"));
        let top = overlay(bql, "top", &old);
        let mut section = top.drain(bql);
        section.transaction();
        //~^ "nothing changes until the transaction is committed"
        section.set_backing(Some(&new))?;
        assert_eq!(new.view(&section).parents().count(), 1);
        Ok(())
    });
}
