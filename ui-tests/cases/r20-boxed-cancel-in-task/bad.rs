//! Rule R20: A task that is given a way to wait for a cancellation lacks what that takes.
//! QEMU: V027, bdrv_aio_cancel() polls, and has to be in the AioContext that it polls.
//! Shape: trait-object.
//! Why: The boxed function takes `&mut HomeThread`, and a task has none.

use block_gs::{BqlGuard, MainOrHome};
use block_io::aio::{AioContext, HomeThread, sleep};
use std::time::Duration;
use ui_tests::{in_main_loop, iothread};

type Cancel = Box<dyn FnOnce(&mut HomeThread<'_>) + Send>;

async fn scsi_req_cancel(context: AioContext, cancel: Cancel) -> AioContext {
    cancel();
    //~^ E0057 "argument #1 of type `&mut HomeThread<'_>` is missing"
    context
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let context = iothread(bql, "io0").context().clone();
        let (request, home) = (context.spawn(sleep(Duration::MAX)), context.clone());
        let cancel: Cancel = Box::new(move |at| drop(at.wait_for(&home, request.cancel())));
        let cancelled = context.spawn(scsi_req_cancel(context.clone(), cancel));
        assert_eq!(bql.block_on(cancelled), context);
        Ok(())
    });
}
