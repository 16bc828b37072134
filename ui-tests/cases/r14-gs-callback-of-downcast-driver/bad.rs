//! Rule R14: Who gets at the whole driver still lacks the proof that its callback takes.
//! QEMU: V073, V074, a callback of the global-state section called by an I/O function.
//! Shape: trait-object.
//! Why: The callback takes a `&BqlGuard`, however the driver was reached.

use block_gs::BlockDriver;
use block_gs::{BqlGuard, MainLoop};
use block_io::IoNode;
use std::any::Any;
use ui_tests::{Overlay, in_main_loop, iothread, null, overlay};

async fn bdrv_get_parent_name(node: std::sync::Arc<IoNode>, main: MainLoop) {
    drop(main);
    let driver: &dyn Any = node.driver();
    let driver: &Overlay = driver.downcast_ref().expect("an overlay");
    driver.drain_begin();
    //~^ E0061 "argument #1 of type `&BqlGuard` is missing"
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let name = bdrv_get_parent_name(top.io().clone(), bql.main_loop());
        let name = iothread(bql, "io0").context().spawn(name);
        bql.block_on(name);
        Ok(())
    });
}
