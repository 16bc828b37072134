//! Twin of bad.rs: what is kept is how much of it there is.

use block_gs::BqlGuard;
use block_io::{IoError, Root, StatusFlags};
use ui_tests::{disk, in_main_loop, null};

async fn status(root: &Root) -> Result<StatusFlags, IoError> {
    let in_flight = root.begin().await;
    let status = in_flight.request()?.block_status(0, 512, false).await?;
    Ok(status.flags)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        bql.block_on(status(disk.root()))?;
        Ok(())
    });
}
