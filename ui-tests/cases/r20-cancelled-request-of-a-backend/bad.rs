//! Rule R20: A device does not wait in its iothread until a request of its backend has ended.
//! QEMU: V027, blk_aio_cancel() -> bdrv_aio_cancel() polls; V028, devices need the other one.
//! Shape: argument.
//! Why: `Backend::cancel` takes a `MainOrHome`; `cancel_async` takes nothing.

use block_gs::{Backend, BqlGuard};
use block_io::aio::{JoinHandle, sleep};
use std::time::Duration;
use ui_tests::{disk, in_main_loop, iothread, null};

async fn virtio_scsi_abort_task(blk: Backend, request: JoinHandle<()>) -> Backend {
    let ended = blk.cancel(&mut blk.root().context(), request);
    //~^ E0277 "waiting for I/O needs a proof of the main thread or of the home thread, and `AioContext` is neither"
    drop(ended);
    blk
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let blk = disk(bql, "disk", &node);
        let request = blk.root().spawn(sleep(Duration::from_secs(3600)));
        let abort = virtio_scsi_abort_task(blk, request);
        let abort = iothread(bql, "io0").context().spawn(abort);
        let blk = bql.block_on(abort);
        let request = blk.root().spawn(sleep(Duration::from_secs(3600)));
        assert_eq!(blk.cancel(bql, request)?, None);
        Ok(())
    });
}
