//! Rule R2: A hand-written future does not take the proof along either.
//! QEMU: None recorded. A coroutine runs under whatever the thread holds that reenters it.
//! Shape: async.
//! Why: What is polled in an iothread is `Send` and borrows nothing.

use block_gs::{BqlGuard, nodes};
use std::{future::poll_fn, task::Poll};
use ui_tests::{in_main_loop, iothread, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (_node, main) = (null(bql, "node"), bql.main_loop());
        let context = iothread(bql, "io0").context().clone();
        let counted = context.spawn(poll_fn(|_| Poll::Ready(nodes(bql).count())));
        //~^ E0277 "cannot be shared between threads safely"
        assert_eq!(bql.block_on(counted), 1);
        drop(main);
        Ok(())
    });
}
