//! Rule R19: Nobody makes a proof of the BQL by writing one down.
//! QEMU: None recorded. A macro looks at the thread.
//! Shape: literal.
//! Why: The field is private, and its name says where guards come from.

use block_gs::{BlockLayer, BqlGuard, nodes};

fn main() {
    let layer = BlockLayer::new().expect("a block layer");
    let bql = BqlGuard {};
    //~^ "cannot construct `BqlGuard` with struct literal syntax due to private fields"
    assert_eq!(nodes(&bql).count(), 0);
    drop(layer);
}
