//! Rule R3: The handle of the main loop, which an iothread may have, is nothing to enter.
//! QEMU: None recorded. bql_lock() takes no argument, and so can be called by everybody.
//! Shape: argument.
//! Why: `BlockLayer::enter` takes the layer, and `MainLoop` is not one.

use block_gs::{BlockLayer, BqlGuard, MainLoop, nodes};
use ui_tests::{in_main_loop, iothread, null};

async fn node_count(main: MainLoop) -> usize {
    BlockLayer::enter(&main, |bql| nodes(bql).count())
    //~^ E0308 "expected `&BlockLayer`, found `&MainLoop`"
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
