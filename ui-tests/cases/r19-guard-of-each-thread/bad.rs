//! Rule R19: A thread does not keep a guard of its own.
//! QEMU: None recorded. Whether the BQL is held is a variable of each thread.
//! Shape: static.
//! Why: The initializer would have to make one.

use block_gs::{BlockLayer, BqlGuard, nodes};

thread_local! {
    static BQL: BqlGuard = BqlGuard {};
    //~^ "cannot construct `BqlGuard` with struct literal syntax due to private fields"
}

fn main() {
    let layer = BlockLayer::new().expect("a block layer");
    BQL.with(|bql| assert_eq!(nodes(bql).count(), 0));
    drop(layer);
}
