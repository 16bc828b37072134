//! Rule R11: What the main loop is asked to do does not use the request of whoever asks.
//! QEMU: None recorded. A bottom half gets a pointer, and C does not ask how long it is valid.
//! Shape: closure.
//! Why: The closure runs later, perhaps after the task is gone, so it owns what it uses.

use block_gs::{BqlGuard, MainLoop, Node};
use block_io::{Activity, IoNode};
use std::sync::Arc;
use ui_tests::{in_main_loop, iothread, null};

async fn is_known(node: Arc<IoNode>, main: MainLoop) -> bool {
    let in_flight = Activity::begin(node).await;
    let request = in_flight.request();
    //~^ E0597 "`in_flight` does not live long enough"
    let known = main.call(move |bql| Node::find(bql, request.node().name()).is_some());
    known.await.expect("the main loop")
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let known = is_known(node.io().clone(), bql.main_loop());
        let known = iothread(bql, "io0").context().spawn(known);
        assert!(bql.block_on(known));
        Ok(())
    });
}
