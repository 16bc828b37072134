//! Twin of bad.rs: the guard itself lends the guard.

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
        assert_eq!(node_count(bql), 1);
        Ok(())
    });
}
