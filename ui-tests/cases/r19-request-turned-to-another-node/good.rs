//! Twin of bad.rs: the request descends.

use block_gs::BqlGuard;
use block_io::{IoError, IoNode, Request, Root};
use std::sync::Arc;
use ui_tests::{SIZE, disk, in_main_loop, null, raw};

async fn length_of(root: Root, other: Arc<IoNode>) -> Result<u64, IoError> {
    let in_flight = root.begin().await;
    let request = in_flight.request()?;
    let below: Request<'_> = request.file()?;
    assert_eq!(below.node().uid(), other.uid());
    below.refresh_length().await
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let file = null(bql, "file");
        let format = raw(bql, "format", &file);
        let disk = disk(bql, "disk", &format);
        let length = length_of(disk.root().clone(), file.io().clone());
        assert_eq!(bql.block_on(length)?, SIZE);
        Ok(())
    });
}
