//! Rule R20: A driver does not wait in a callback for what it has cancelled.
//! QEMU: V027, bdrv_aio_cancel() polls, and has to be in the AioContext that it polls.
//! Shape: argument.
//! Why: Waiting takes one of two proofs, and the request that the callback gets is none.

use block_gs::{BqlGuard, MainOrHome};
use block_io::aio::{JoinHandle, sleep};
use block_io::{Activity, IoFuture, Request};
use std::time::Duration;
use ui_tests::{in_main_loop, null};

fn flush(mut request: Request<'_>, prefetch: JoinHandle<()>) -> IoFuture<'_> {
    let context = request.node().context();
    let waited = MainOrHome::wait_for(&mut request, &context, prefetch.cancel());
    //~^ E0277 "waiting for I/O needs a proof of the main thread or of the home thread"
    assert!(waited.is_ok());
    request.flush()
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let counted = Activity::try_begin(node.io()).expect("not quiesced");
        let prefetch = bql.context().spawn(sleep(Duration::from_secs(3600)));
        bql.block_on(flush(counted.request(), prefetch))?;
        Ok(())
    });
}
