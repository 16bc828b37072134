//! Rule R10: To be counted is not to know what node one is counted for.
//! QEMU: None recorded. blk_pdiscard() looks its node up whenever it is called.
//! Shape: receiver.
//! Why: Operations are methods of `Request`, which an `InFlight` gives if there is a medium.

use block_gs::BqlGuard;
use block_io::{IoError, Root};
use ui_tests::{disk, in_main_loop, null};

async fn discard(root: &Root) -> Result<(), IoError> {
    let in_flight = root.begin().await;
    in_flight.discard(0, 512).await
    //~^ E0277 "I/O takes a counted `Request`, and `InFlight<'_>` is none"
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        bql.block_on(discard(disk.root()))?;
        Ok(())
    });
}
