//! Rule R5: A counted request is no right to write edges.
//! QEMU: V057, QLIST_INSERT_HEAD() on `children` while requests walk the list.
//! Shape: async.
//! Why: The write takes a section, and that waits for requests like this one.

use block_gs::{Backend, BqlGuard, Drained, GraphError, MainLoop, Node};
use ui_tests::{disk, in_main_loop, iothread, null, overlay};

fn unplug(parent: &mut Drained<'_>) -> Result<(), GraphError> {
    parent.set_backing(None)
}

async fn bdrv_co_unplug(disk: Backend, top: Node, main: MainLoop) -> Result<(), GraphError> {
    let in_flight = disk.root().begin().await;
    assert_eq!(in_flight.request()?.node().name(), top.name());
    drop(main);
    let mut request = in_flight.request()?;
    unplug(&mut request)
    //~^ E0308 "expected `&mut Drained<'_>`, found `&mut Request<'_>`"
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
