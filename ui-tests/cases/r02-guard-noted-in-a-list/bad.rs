//! Rule R2: A function cannot note the proof in a list of its caller.
//! QEMU: None recorded. Whether the BQL is held is asked of the thread, from anywhere.
//! Shape: argument.
//! Why: The list is older than the guard, which is lent for the closure only.

use block_gs::{BlockLayer, BqlGuard, nodes};

fn note<'a>(list: &mut Vec<&'a BqlGuard>, bql: &'a BqlGuard) {
    list.push(bql);
}

fn main() {
    let layer = BlockLayer::new().expect("a block layer");
    let mut noted = Vec::new();
    layer.enter(|bql| {
        note(&mut noted, bql);
        //~^ "borrowed data escapes outside of closure"
        assert_eq!(nodes(bql).count(), 0);
    });
    assert_eq!(noted.len(), 1);
}
