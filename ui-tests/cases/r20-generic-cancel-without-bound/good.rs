//! Twin of bad.rs: the bound is there.

use block_gs::{BqlGuard, MainOrHome};
use block_io::aio::{AioContext, JoinHandle, sleep};
use std::time::Duration;
use ui_tests::{in_main_loop, iothread};

fn cancel<P: MainOrHome>(at: &mut P, context: &AioContext, request: JoinHandle<()>) {
    let waited = block_gs::MainOrHome::wait_for(at, context, request.cancel());
    assert!(waited.is_ok());
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let context = iothread(bql, "io0").context().clone();
        let request = context.spawn(sleep(Duration::from_secs(3600)));
        cancel(bql, &context, request);
        Ok(())
    });
}
