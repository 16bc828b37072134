//! Rule R18: A request that nobody keeps is no request.
//! QEMU: None recorded. blk_inc_in_flight() has no result that could be ignored.
//! Shape: unused.
//! Why: `InFlight` is `must_use`: dropped, it is not counted any more.

#![deny(unused_must_use)]

use block_gs::BqlGuard;
use block_io::Root;
use ui_tests::{disk, in_main_loop, null};

async fn count_while_at_work(root: &Root) -> u64 {
    root.begin().await;
    //~^ "the request ends when this is dropped"
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
