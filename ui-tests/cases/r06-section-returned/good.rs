//! Twin of bad.rs: what is done in the section is done before it ends.

use block_gs::BlockLayer;
use ui_tests::null;

fn main() {
    let layer = BlockLayer::new().expect("a block layer");
    let node = layer.enter(|bql| null(bql, "node"));
    layer.enter(|bql| {
        let section = node.drain(bql);
        assert_eq!(section.node().view(&section).quiesce_count(), 1);
    });
    layer.enter(|bql| assert_eq!(node.view(bql).quiesce_count(), 0));
}
