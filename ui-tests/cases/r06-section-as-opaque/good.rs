//! Twin of bad.rs: the opaque value is the node.

use block_gs::{BqlGuard, Node};
use std::any::Any;
use ui_tests::{in_main_loop, null};

fn opaque(value: impl Any) -> Box<dyn Any> {
    Box::new(value)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let opaque = opaque(node.clone());
        let node: Box<Node> = opaque.downcast().expect("a node");
        node.drain(bql).end();
        Ok(())
    });
}
