//! Rule R8: A coroutine cannot get hold of the proof of its bottom half.
//! QEMU: None recorded. Whether code runs in a coroutine is asked at run time.
//! Shape: async.
//! Why: `HomeThread` is lent to the bottom half; a task must own what it uses.

use block_gs::BqlGuard;
use block_io::aio::sleep;
use std::{sync::mpsc, time::Duration};
use ui_tests::{in_main_loop, iothread};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let ((report, done), main) = (mpsc::channel(), bql.main_loop());
        iothread(bql, "io0").context().schedule(move |home| {
            let context = home.context().clone();
            let task = context.spawn(async move { home.block_on(sleep(Duration::ZERO)) });
            //~^ "has type `&mut HomeThread<'_>` which is not `Send`"
            task.detach();
            report.send(()).expect("a receiver");
            main.kick();
        });
        bql.poll_until(|_| done.try_recv().is_ok());
        Ok(())
    });
}
