//! Rule R6: A drained section does not leave the scope that it was opened in.
//! QEMU: None recorded. A drained section is a counter there, and has no scope.
//! Shape: return.
//! Why: The section borrows the guard, which the main loop lends for one call.

use block_gs::BlockLayer;
use ui_tests::null;

fn main() {
    let layer = BlockLayer::new().expect("a block layer");
    let node = layer.enter(|bql| null(bql, "node"));
    let section = layer.enter(|bql| node.drain(bql));
    //~^ "lifetime may not live long enough"
    assert_eq!(section.node().name(), "node");
}
