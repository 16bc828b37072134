//! Twin of bad.rs: the main loop is asked when the task has woken up.

use block_gs::{BqlGuard, nodes};
use block_io::aio::sleep;
use std::time::Duration;
use ui_tests::{in_main_loop, iothread, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (_node, main) = (null(bql, "node"), bql.main_loop());
        let context = iothread(bql, "io0").context().clone();
        let count = async move || {
            sleep(Duration::ZERO).await;
            let count = main.call(|bql| nodes(bql).count()).await;
            count.expect("the main loop")
        };
        let counted = context.spawn(async move { count().await });
        assert_eq!(bql.block_on(counted), 1);
        Ok(())
    });
}
