//! Twin of bad.rs: what is kept is the node, and the section is opened when it is needed.

use block_gs::{BqlGuard, Node};
use std::any::Any;
use ui_tests::{in_main_loop, null};

fn opaque(node: Node) -> Box<dyn Any> {
    Box::new(node)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let kept = opaque(null(bql, "node"));
        let node = kept.downcast_ref::<Node>().expect("a node");
        assert_eq!(node.drain(bql).node().name(), "node");
        Ok(())
    });
}
