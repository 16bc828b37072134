//! Rule R6: A section is not moved into a task that writes in it later.
//! QEMU: None recorded. A coroutine may end a section that its creator began.
//! Shape: async.
//! Why: The task runs elsewhere, and a section stays with its guard.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, iothread, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (base, main) = (null(bql, "base"), bql.main_loop());
        let (top, io0) = (overlay(bql, "top", &base), iothread(bql, "io0"));
        let mut section = top.drain(bql);
        let write = async move { section.set_backing(None) };
        drop(io0.context().spawn(write));
        //~^ "future cannot be sent between threads safely"
        drop(main);
        Ok(())
    });
}
