//! Twin of bad.rs: the count is asked for the request.

use block_gs::BqlGuard;
use block_io::{IoError, Root};
use ui_tests::{disk, in_main_loop, null};

async fn discard(root: &Root) -> Result<(), IoError> {
    let in_flight = root.begin().await;
    in_flight.request()?.discard(0, 512).await
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        bql.block_on(discard(disk.root()))?;
        Ok(())
    });
}
