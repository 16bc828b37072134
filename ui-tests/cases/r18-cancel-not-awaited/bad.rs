//! Rule R18: A cancellation that nobody awaits is not taken for one.
//! QEMU: None recorded. bdrv_aio_cancel_async() does not say when the request has ended.
//! Shape: unused.
//! Why: What `cancel` returns is a future, and every future is `must_use`.

#![deny(unused_must_use)]

use block_gs::BqlGuard;
use block_io::aio::{JoinHandle, sleep};
use std::time::Duration;
use ui_tests::{in_main_loop, iothread};

async fn scsi_req_cancel(request: JoinHandle<()>) {
    request.cancel();
    //~^ "that must be used"
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let context = iothread(bql, "io0").context().clone();
        let request = context.spawn(sleep(Duration::from_secs(3600)));
        bql.block_on(scsi_req_cancel(request));
        Ok(())
    });
}
