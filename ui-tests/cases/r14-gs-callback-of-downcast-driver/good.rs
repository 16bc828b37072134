//! Twin of bad.rs: the callback runs in the main loop.

use block_gs::BlockDriver;
use block_gs::{BqlGuard, MainLoop};
use block_io::IoNode;
use std::any::Any;
use ui_tests::{Overlay, in_main_loop, iothread, null, overlay};

async fn bdrv_get_parent_name(node: std::sync::Arc<IoNode>, main: MainLoop) {
    let called = main.call(move |bql| {
        let driver: &dyn Any = node.driver();
        let driver: &Overlay = driver.downcast_ref().expect("an overlay");
        driver.drain_begin(bql);
    });
    called.await.expect("the main loop");
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
