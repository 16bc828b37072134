//! Rule R4: An async closure that borrows the proof makes no task.
//! QEMU: None recorded. A coroutine may yield while its caller holds a lock.
//! Shape: closure.
//! Why: The future of the closure contains what the closure borrows.

use block_gs::{BqlGuard, nodes};
use block_io::aio::sleep;
use std::time::Duration;
use ui_tests::{in_main_loop, iothread, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (_node, main) = (null(bql, "node"), bql.main_loop());
        let context = iothread(bql, "io0").context().clone();
        let count = async || {
            sleep(Duration::ZERO).await;
            drop(main);
            nodes(bql).count()
        };
        let counted = context.spawn(count());
        //~^ E0277 "cannot be shared between threads safely"
        assert_eq!(bql.block_on(counted), 1);
        Ok(())
    });
}
