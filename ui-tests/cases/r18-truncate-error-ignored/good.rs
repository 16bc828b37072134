//! Twin of bad.rs: it is looked at.

#![deny(unused_must_use)]

use block_gs::BqlGuard;
use block_io::{IoError, Preallocation, Root};
use ui_tests::{SIZE, disk, in_main_loop, null};

async fn grow(root: &Root) -> Result<u64, IoError> {
    root.truncate(2 * SIZE, true, Preallocation::Off).await?;
    root.length().await
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        assert!(bql.block_on(grow(disk.root())).is_err());
        Ok(())
    });
}
