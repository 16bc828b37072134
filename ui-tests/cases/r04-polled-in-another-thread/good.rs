//! Twin of bad.rs: the main loop polls it.

use block_gs::{BqlGuard, nodes};
use block_io::aio::yield_now;
use ui_tests::{in_main_loop, null};

async fn count(before: usize) -> usize {
    yield_now().await;
    before
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let _node = null(bql, "node");
        let counted = count(nodes(bql).count());
        let found = bql.block_on(counted);
        assert_eq!(found, 1);
        Ok(())
    });
}
