//! Rule R20: What runs in a worker thread does not wait for what it has cancelled.
//! QEMU: V028, virtio-scsi needs bdrv_aio_cancel_async() in an iothread.
//! Shape: closure.
//! Why: The work gets no proof, and a context is none.

use block_gs::{BqlGuard, MainOrHome};
use block_io::aio::{run_blocking, sleep};
use std::time::Duration;
use ui_tests::{in_main_loop, iothread};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let context = iothread(bql, "io0").context().clone();
        let request = context.spawn(sleep(Duration::from_secs(3600)));
        let mut at = context.clone();
        let cancel = move || MainOrHome::wait_for(&mut at, &context, request.cancel());
        //~^ E0277 "waiting for I/O needs a proof of the main thread or of the home thread"
        assert_eq!(bql.block_on(run_blocking(cancel))?, None);
        Ok(())
    });
}
