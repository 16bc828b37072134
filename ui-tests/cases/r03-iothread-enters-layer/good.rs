//! Twin of bad.rs: the iothread has a `MainLoop`, which cannot be entered but asked.

use block_gs::BlockLayer;
use block_io::aio::Wait;
use ui_tests::null;

fn main() {
    let layer = BlockLayer::new().expect("a block layer");
    let main = layer.main_loop();
    std::thread::scope(|scope| {
        let iothread = scope.spawn(|| main.schedule(|bql| drop(null(bql, "node"))));
        iothread.join().expect("a node");
        layer.enter(|bql| assert!(bql.poll(Wait::No)));
    });
}
