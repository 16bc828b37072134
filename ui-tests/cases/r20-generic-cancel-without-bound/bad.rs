//! Rule R20: A function in between cannot leave open who waits for a cancellation.
//! QEMU: V027, bdrv_aio_cancel() polls, and has to be in the AioContext that it polls.
//! Shape: generic.
//! Why: Its caller must bring one of the two proofs, so it has to ask for one.

use block_gs::BqlGuard;
use block_io::aio::{AioContext, JoinHandle, sleep};
use std::time::Duration;
use ui_tests::{in_main_loop, iothread};

fn cancel<P>(at: &mut P, context: &AioContext, request: JoinHandle<()>) {
    let waited = block_gs::MainOrHome::wait_for(at, context, request.cancel());
    //~^ E0277 "waiting for I/O needs a proof of the main thread or of the home thread"
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
