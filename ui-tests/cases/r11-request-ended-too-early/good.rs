//! Twin of bad.rs: the count is given back last.

use block_gs::BqlGuard;
use block_io::{IoError, Root};
use ui_tests::{SIZE, disk, in_main_loop, null};

async fn length_of(root: &Root) -> Result<u64, IoError> {
    let in_flight = root.begin().await;
    let request = in_flight.request()?;
    let length = request.refresh_length().await;
    drop(in_flight);
    length
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        assert_eq!(bql.block_on(length_of(disk.root()))?, SIZE);
        Ok(())
    });
}
