//! Twin of bad.rs: the main loop is asked to run a function.

use block_gs::{BqlGuard, MainLoop, nodes};
use ui_tests::{in_main_loop, iothread, null};

async fn node_count(main: MainLoop) -> usize {
    let count = main.call(|bql| nodes(bql).count()).await;
    count.expect("the main loop")
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let _node = null(bql, "node");
        let count = node_count(bql.main_loop());
        let count = iothread(bql, "io0").context().spawn(count);
        assert_eq!(bql.block_on(count), 1);
        Ok(())
    });
}
