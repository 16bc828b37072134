//! Rule R11: Where data is stored is not known after the request that has asked.
//! QEMU: None recorded. bdrv_co_block_status() returns a node that nothing keeps alive.
//! Shape: return.
//! Why: A `BlockStatus` borrows the node from the request.

use block_gs::BqlGuard;
use block_io::{BlockStatus, IoError, Root};
use ui_tests::{disk, in_main_loop, null};

async fn status(root: &Root) -> Result<BlockStatus<'_>, IoError> {
    let in_flight = root.begin().await;
    in_flight.request()?.block_status(0, 512, false).await
    //~^ E0597 "`in_flight` does not live long enough"
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        bql.block_on(status(disk.root()))?;
        Ok(())
    });
}
