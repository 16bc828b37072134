//! Rule R4: What an I/O function returns does not hold the proof while it waits.
//! QEMU: None recorded. A coroutine may yield while its caller holds a lock.
//! Shape: trait-object.
//! Why: `IoFuture` boxes a `dyn Future + Send`.

use block_gs::{BqlGuard, nodes};
use block_io::IoFuture;
use block_io::aio::yield_now;
use ui_tests::{in_main_loop, null};

fn count(bql: &BqlGuard) -> IoFuture<'_, usize> {
    IoFuture::new(async move {
        //~^ "future cannot be sent between threads safely"
        yield_now().await;
        Ok(nodes(bql).count())
    })
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let _node = null(bql, "node");
        let counted = count(bql).into_ready().expect_err("it waits");
        drop(counted);
        Ok(())
    });
}
