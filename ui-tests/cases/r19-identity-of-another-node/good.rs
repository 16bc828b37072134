//! Twin of bad.rs: the identity is asked of the node.

use block_gs::BqlGuard;
use block_io::GraphCell;
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let cell = GraphCell::new(node.io().uid(), 512);
        assert_eq!(node.drain(bql).set(&cell, 0), 512);
        Ok(())
    });
}
