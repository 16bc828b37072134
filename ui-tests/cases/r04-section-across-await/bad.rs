//! Rule R4: A drained section is not held across an `.await` in an iothread.
//! QEMU: None recorded. A coroutine may yield between bdrv_drained_begin() and
//! bdrv_drained_end().
//! Shape: async.
//! Why: The section contains the guard, and the task would take it along.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, iothread, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (base, main) = (null(bql, "base"), bql.main_loop());
        let (top, io0) = (overlay(bql, "top", &base), iothread(bql, "io0"));
        let mut section = top.drain(bql);
        let dropped = io0.context().spawn(async move {
            //~^ "future cannot be sent between threads safely"
            main.call(|_| ()).await.expect("the main loop");
            section.set_backing(None)
        });
        drop(dropped);
        Ok(())
    });
}
