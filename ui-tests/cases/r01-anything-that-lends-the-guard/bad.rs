//! Rule R1: A function over anything that lends the guard takes no request.
//! QEMU: None recorded. A macro cannot tell one caller from another.
//! Shape: generic.
//! Why: Only the guard and what holds it lend it; `Request` implements nothing of the kind.

use block_gs::{BqlGuard, nodes};
use block_io::Activity;
use std::borrow::Borrow;
use ui_tests::{in_main_loop, null};

fn node_count(proof: impl Borrow<BqlGuard>) -> usize {
    nodes(proof.borrow()).count()
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let counted = Activity::try_begin(node.io()).expect("not quiesced");
        assert_eq!(counted.request().node().name(), "node");
        assert_eq!(node_count(counted.request()), 1);
        //~^ E0277 "the trait bound `block_io::Request<'_>: Borrow<BqlGuard>` is not satisfied"
        Ok(())
    });
}
