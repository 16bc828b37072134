//! Twin of bad.rs: the main loop lends one.

use block_gs::{BlockLayer, nodes};

fn main() {
    let layer = BlockLayer::new().expect("a block layer");
    layer.enter(|bql| assert_eq!(nodes(bql).count(), 0));
}
