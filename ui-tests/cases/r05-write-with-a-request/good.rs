//! Twin of bad.rs: the request ends, and the main loop opens the section.

use block_gs::{Backend, BqlGuard, Drained, GraphError, MainLoop, Node};
use ui_tests::{disk, in_main_loop, iothread, null, overlay};

fn unplug(parent: &mut Drained<'_>) -> Result<(), GraphError> {
    parent.set_backing(None)
}

async fn bdrv_co_unplug(disk: Backend, top: Node, main: MainLoop) -> Result<(), GraphError> {
    let in_flight = disk.root().begin().await;
    assert_eq!(in_flight.request()?.node().name(), top.name());
    drop(in_flight);
    let unplugged = top.drained_by(&main, unplug);
    unplugged.await.expect("the main loop")
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (base, main) = (null(bql, "base"), bql.main_loop());
        let top = overlay(bql, "top", &base);
        let disk = disk(bql, "disk", &base);
        disk.replace(bql, &top)?;
        let unplugged = bdrv_co_unplug(disk.clone(), top.clone(), main);
        let unplugged = iothread(bql, "io0").context().spawn(unplugged);
        bql.block_on(unplugged)?;
        assert_eq!(top.view(bql).children().count(), 0);
        Ok(())
    });
}
