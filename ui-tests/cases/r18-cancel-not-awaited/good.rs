//! Twin of bad.rs: it is awaited.

#![deny(unused_must_use)]

use block_gs::BqlGuard;
use block_io::aio::{JoinHandle, sleep};
use std::time::Duration;
use ui_tests::{in_main_loop, iothread};

async fn scsi_req_cancel(request: JoinHandle<()>) {
    assert_eq!(request.cancel().await, None);
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let context = iothread(bql, "io0").context().clone();
        let request = context.spawn(sleep(Duration::from_secs(3600)));
        bql.block_on(scsi_req_cancel(request));
        Ok(())
    });
}
