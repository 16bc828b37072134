//! Rule R17: A plan is not committed by a task.
//! QEMU: None recorded. A coroutine may complete the transaction of its creator.
//! Shape: async.
//! Why: The plan borrows the guard, and a task owns what it uses and goes to its thread with
//! it.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, iothread, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (base, main) = (null(bql, "base"), bql.main_loop());
        let (top, io0) = (overlay(bql, "top", &base), iothread(bql, "io0"));
        let mut section = top.drain(bql);
        let changes = section.transaction();
        let commit = async move { changes.commit() };
        drop(io0.context().spawn(commit));
        //~^ "future cannot be sent between threads safely"
        drop(main);
        Ok(())
    });
}
