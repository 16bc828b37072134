//! Rule R20: I/O code does not wait for a cancelled request by blocking.
//! QEMU: V027, bdrv_aio_cancel() polls; V028, virtio-scsi needs bdrv_aio_cancel_async() in an
//! iothread.
//! Shape: async.
//! Why: Waiting takes `&mut BqlGuard` or `&mut HomeThread`; cancelling itself takes nothing.

use block_gs::{BqlGuard, MainOrHome};
use block_io::aio::{AioContext, JoinHandle, sleep};
use std::time::Duration;
use ui_tests::{in_main_loop, iothread};

fn bdrv_aio_cancel(at: &mut impl MainOrHome, context: &AioContext, request: JoinHandle<()>) {
    let waited = at.wait_for(context, request.cancel());
    assert_eq!(waited.expect("its home"), None);
}

async fn scsi_req_cancel(context: AioContext, request: JoinHandle<()>) -> AioContext {
    bdrv_aio_cancel(&mut context.clone(), &context, request);
    //~^ E0277 "waiting for I/O needs a proof of the main thread or of the home thread, and `AioContext` is neither"
    context
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let context = iothread(bql, "io0").context().clone();
        let request = context.spawn(sleep(Duration::from_secs(3600)));
        let cancel = context.spawn(scsi_req_cancel(context.clone(), request));
        assert_eq!(bql.block_on(cancel), context);
        let request = context.spawn(sleep(Duration::from_secs(3600)));
        bdrv_aio_cancel(bql, &context, request);
        Ok(())
    });
}
