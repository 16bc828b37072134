//! Twin of bad.rs: the closure gets what it needs of the request.

use block_gs::{BqlGuard, MainLoop, Node};
use block_io::{Activity, IoNode};
use std::sync::Arc;
use ui_tests::{in_main_loop, iothread, null};

async fn is_known(node: Arc<IoNode>, main: MainLoop) -> bool {
    let in_flight = Activity::begin(node).await;
    let name = in_flight.request().node().name().to_owned();
    let known = main.call(move |bql| Node::find(bql, &name).is_some());
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
