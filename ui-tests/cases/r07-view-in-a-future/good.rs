//! Twin of bad.rs: the future gets a handle and asks the main loop.

use block_gs::BqlGuard;
use block_io::aio::yield_now;
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, main) = (null(bql, "node"), bql.main_loop());
        let count = async {
            yield_now().await;
            let count = main.call(move |bql| node.view(bql).quiesce_count()).await;
            count.expect("the main loop")
        };
        assert_eq!(bql.block_on(count), 0);
        Ok(())
    });
}
