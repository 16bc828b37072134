//! Twin of bad.rs: the main loop tells the driver.

use block_gs::{BlockDriver, BqlGuard, MainLoop};
use block_io::{Activity, IoNode};
use std::sync::Arc;
use ui_tests::{Overlay, in_main_loop, iothread, null};

async fn detach(node: Arc<IoNode>, main: MainLoop) -> bool {
    let counted = Activity::begin(node.clone()).await;
    assert_eq!(counted.request().node().uid(), node.uid());
    let told = main.call(move |bql| Overlay.detach_context(bql, &node));
    told.await.expect("the main loop");
    true
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let detached = detach(node.io().clone(), bql.main_loop());
        let detached = iothread(bql, "io0").context().spawn(detached);
        assert!(bql.block_on(detached));
        Ok(())
    });
}
