//! Rule R19: There is no constructor of a proof of the BQL.
//! QEMU: None recorded. A macro looks at the thread.
//! Shape: literal.
//! Why: `BqlGuard` has neither `new` nor `Default`.

use block_gs::{BlockLayer, BqlGuard, nodes};

fn main() {
    let layer = BlockLayer::new().expect("a block layer");
    let bql = BqlGuard::new();
    //~^ E0599 "no function or associated item named `new` found for struct `BqlGuard`"
    assert_eq!(nodes(&bql).count(), 0);
    drop(layer);
}
