//! Twin of bad.rs: the outcome is awaited.

use block_gs::{BqlGuard, MainOrHome};
use block_io::aio::{AioContext, JoinHandle, sleep};
use std::time::Duration;
use ui_tests::{in_main_loop, iothread};

fn bdrv_aio_cancel(at: &mut impl MainOrHome, context: &AioContext, request: JoinHandle<()>) {
    let waited = at.wait_for(context, request.cancel());
    assert_eq!(waited.expect("its home"), None);
}

async fn scsi_req_cancel(context: AioContext, request: JoinHandle<()>) -> AioContext {
    assert_eq!(request.cancel().await, None);
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
