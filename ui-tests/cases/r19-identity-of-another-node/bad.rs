//! Rule R19: A cell cannot be given the identity of a node that is not its own.
//! QEMU: None recorded. `bs->opaque` is a void pointer.
//! Shape: literal.
//! Why: A `NodeUid` is not made of a number.

use block_gs::BqlGuard;
use block_io::{GraphCell, NodeUid};
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let cell = GraphCell::new(NodeUid(1), 512);
        //~^ E0423 "cannot initialize a tuple struct which contains private fields"
        assert_eq!(node.drain(bql).set(&cell, 0), 512);
        Ok(())
    });
}
