//! Rule R3: A task cannot take the block layer to an iothread.
//! QEMU: None recorded. bql_lock() can be called in a coroutine of an iothread.
//! Shape: async.
//! Why: `BlockLayer` is not `Send`: who has made it is the main thread for good.

use block_gs::{BlockLayer, nodes};
use ui_tests::iothread;

fn main() {
    let layer = BlockLayer::new().expect("a block layer");
    let main = layer.main_loop();
    let task = layer.enter(|bql| {
        let io0 = iothread(bql, "io0");
        let _ = main;
        io0.context().spawn(async move {
            //~^ "StaysOnItsMainThread"
            //~^^ "Rc"
            layer.enter(|bql| nodes(bql).count())
        })
    });
    drop(task);
}
