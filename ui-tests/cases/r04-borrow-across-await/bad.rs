//! Rule R4: The proof cannot be held across an `.await` in an iothread.
//! QEMU: None recorded. A coroutine may yield while its caller holds a lock.
//! Shape: argument.
//! Why: The future would contain the borrow, and go to another thread with it.

use block_gs::{BqlGuard, nodes};
use block_io::aio::sleep;
use std::time::Duration;
use ui_tests::{in_main_loop, iothread};

async fn count_twice(bql: &BqlGuard) -> (usize, usize) {
    let before = nodes(bql).count();
    sleep(Duration::ZERO).await;
    (before, nodes(bql).count())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let context = iothread(bql, "io0").context().clone();
        let counted = context.spawn(count_twice(bql));
        //~^ "future cannot be sent between threads safely"
        assert_eq!(bql.block_on(counted), (0, 0));
        Ok(())
    });
}
