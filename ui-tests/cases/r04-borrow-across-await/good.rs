//! Twin of bad.rs: the future is driven in the main loop, where it may borrow.

use block_gs::{BqlGuard, MainLoop, nodes};
use block_io::aio::sleep;
use std::time::Duration;
use ui_tests::{in_main_loop, iothread};

async fn count_twice(main: MainLoop) -> (usize, usize) {
    let before = main
        .call(|bql| nodes(bql).count())
        .await
        .expect("the main loop");
    sleep(Duration::ZERO).await;
    (
        before,
        main.call(|bql| nodes(bql).count())
            .await
            .expect("the main loop"),
    )
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let context = iothread(bql, "io0").context().clone();
        let counted = context.spawn(count_twice(bql.main_loop()));
        assert_eq!(bql.block_on(counted), (0, 0));
        Ok(())
    });
}
