//! Twin of bad.rs: it is bound to a name.

#![deny(unused_must_use)]

use block_gs::BqlGuard;
use block_io::Root;
use ui_tests::{disk, in_main_loop, null};

async fn count_while_at_work(root: &Root) -> u64 {
    let _in_flight = root.begin().await;
    root.in_flight()
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        assert_eq!(bql.block_on(count_while_at_work(disk.root())), 1);
        Ok(())
    });
}
