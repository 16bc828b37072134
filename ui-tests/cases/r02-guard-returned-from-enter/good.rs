//! Twin of bad.rs: the closure returns what it found, as an owned value.

use block_gs::{BlockLayer, nodes};

fn main() {
    let layer = BlockLayer::new().expect("a block layer");
    let count = layer.enter(|bql| nodes(bql).count());
    assert_eq!(count, 0);
}
