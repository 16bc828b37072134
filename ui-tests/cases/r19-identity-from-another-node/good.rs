//! Twin of bad.rs: the identity is a new one.

use block_gs::BqlGuard;
use block_io::{IoNode, NodeFlags, NodeIdentity};
use std::sync::Arc;
use ui_tests::{Overlay, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let identity = NodeIdentity::fresh();
        let context = bql.context().clone();
        let (driver, flags) = (Arc::new(Overlay), NodeFlags::empty());
        let twin = IoNode::new(identity, "twin", driver, context, flags);
        assert_ne!(twin.uid(), node.io().uid());
        Ok(())
    });
}
