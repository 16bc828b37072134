//! Twin of bad.rs: the root is the caller's.

use block_gs::{Backend, BqlGuard};
use block_io::InFlight;
use ui_tests::{disk, in_main_loop, null};

async fn begin(backend: &Backend) -> InFlight<'_> {
    backend.root().begin().await
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let in_flight = bql.block_on(begin(&disk));
        assert_eq!(in_flight.request()?.node().name(), "node");
        assert_eq!(disk.root().in_flight(), 1);
        Ok(())
    });
}
