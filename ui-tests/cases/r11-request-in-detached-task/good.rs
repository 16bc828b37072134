//! Twin of bad.rs: the task begins a request of its own.

use block_gs::BqlGuard;
use ui_tests::{SIZE, disk, in_main_loop, iothread, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let (disk, io0) = (disk(bql, "disk", &node), iothread(bql, "io0"));
        let root = disk.root().clone();
        let prefetch = io0.context().spawn(async move {
            let in_flight = root.begin().await;
            in_flight.request()?.refresh_length().await
        });
        assert_eq!(bql.block_on(prefetch)?, SIZE);
        Ok(())
    });
}
