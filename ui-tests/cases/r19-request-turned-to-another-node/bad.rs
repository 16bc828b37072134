//! Rule R19: A task does not turn its request to another node.
//! QEMU: None recorded. A request is a pointer to a node, and any other is as good.
//! Shape: async.
//! Why: The fields are private; a request descends to children, and nowhere else.

use block_gs::BqlGuard;
use block_io::{IoError, IoNode, Request, Root};
use std::sync::Arc;
use ui_tests::{SIZE, disk, in_main_loop, null, raw};

async fn length_of(root: Root, other: Arc<IoNode>) -> Result<u64, IoError> {
    let in_flight = root.begin().await;
    let request = in_flight.request()?;
    let node = &*other;
    let other = Request { node, ..request };
    //~^ E0451 "are private"
    other.refresh_length().await
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
