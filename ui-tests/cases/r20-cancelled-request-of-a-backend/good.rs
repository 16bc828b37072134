//! Twin of bad.rs: the request is told to end, and nobody waits.

use block_gs::{Backend, BqlGuard};
use block_io::aio::{JoinHandle, sleep};
use std::time::Duration;
use ui_tests::{disk, in_main_loop, iothread, null};

async fn virtio_scsi_abort_task(blk: Backend, request: JoinHandle<()>) -> Backend {
    request.cancel_async();
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
