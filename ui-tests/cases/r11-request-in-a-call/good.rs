//! Twin of bad.rs: the closure gets what it needs of the request.

use block_gs::{BqlGuard, MainLoop, Node};
use block_io::{IoError, Root};
use ui_tests::{disk, in_main_loop, iothread, null};

async fn is_known(root: Root, main: MainLoop) -> Result<bool, IoError> {
    let in_flight = root.begin().await;
    let name = in_flight.request()?.node().name().to_owned();
    let known = main.call(move |bql| Node::find(bql, &name).is_some());
    Ok(known.await.expect("the main loop"))
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let known = is_known(disk.root().clone(), bql.main_loop());
        let known = iothread(bql, "io0").context().spawn(known);
        assert!(bql.block_on(known)?);
        Ok(())
    });
}
