//! Twin of bad.rs: the counted request lives until its last part is done.

use block_gs::BqlGuard;
use block_io::{IoError, Root};
use ui_tests::{SIZE, disk, in_main_loop, null, raw};

async fn read_child(root: &Root) -> Result<u64, IoError> {
    let in_flight = root.begin().await;
    let file = in_flight.request()?.file()?;
    file.refresh_length().await
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let file = null(bql, "file");
        let format = raw(bql, "format", &file);
        let disk = disk(bql, "disk", &format);
        assert_eq!(bql.block_on(read_child(disk.root()))?, SIZE);
        Ok(())
    });
}
