//! Twin of bad.rs: the bottom half asks the main loop.

use block_gs::{BlockLayer, nodes};
use block_io::aio::ContextThread;

fn main() {
    let layer = BlockLayer::new().expect("a block layer");
    let io0 = ContextThread::spawn("io0").expect("a thread");
    let main = layer.main_loop();
    io0.context()
        .schedule(move |_| main.schedule(|bql| assert_eq!(nodes(bql).count(), 0)));
    layer.enter(|bql| assert_eq!(nodes(bql).count(), 0));
    assert!(io0.stop().is_ok());
}
