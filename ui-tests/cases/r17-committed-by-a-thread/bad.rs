//! Rule R17: A plan is not committed by another thread.
//! QEMU: None recorded. tran_commit() can be called by any thread.
//! Shape: thread.
//! Why: The plan borrows the guard, and is as little `Send`.

use block_gs::BqlGuard;
use std::thread;
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let mut section = top.drain(bql);
        let mut changes = section.transaction();
        changes.set_backing(None);
        thread::scope(|scope| scope.spawn(|| changes.commit()).join().expect("no panic"))?;
        //~^ E0277 "cannot be sent between threads safely"
        assert_eq!(top.view(&section).children().count(), 0);
        Ok(())
    });
}
