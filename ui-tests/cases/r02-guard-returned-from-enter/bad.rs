//! Rule R2: The proof does not leave the main loop.
//! QEMU: None recorded. Nothing in C ties what was found under the BQL to holding it.
//! Shape: return.
//! Why: `BlockLayer::enter` lends the guard to a closure, whose result cannot borrow from it.

use block_gs::{BlockLayer, nodes};

fn main() {
    let layer = BlockLayer::new().expect("a block layer");
    let bql = layer.enter(|bql| bql);
    //~^ "lifetime may not live long enough"
    assert_eq!(nodes(bql).count(), 0);
}
