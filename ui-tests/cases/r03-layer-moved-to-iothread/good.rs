//! Twin of bad.rs: the task takes a `MainLoop` along.

use block_gs::{BlockLayer, nodes};
use ui_tests::iothread;

fn main() {
    let layer = BlockLayer::new().expect("a block layer");
    let main = layer.main_loop();
    let task = layer.enter(|bql| {
        let io0 = iothread(bql, "io0");
        io0.context()
            .spawn(async move { main.call(|bql| nodes(bql).count()).await })
    });
    let count = layer.enter(|bql| bql.block_on(task));
    assert_eq!(count, Ok(0));
}
