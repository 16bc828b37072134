//! Rule R19: A node is not made with the identity of another one.
//! QEMU: None recorded. A node is told from another one by its address.
//! Shape: argument.
//! Why: A `NodeUid` can be copied, and a `NodeIdentity`, which makes a node, cannot.

use block_gs::BqlGuard;
use block_io::{IoNode, NodeFlags, NodeIdentity};
use std::sync::Arc;
use ui_tests::{Overlay, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let identity = node.io().uid();
        let context = bql.context().clone();
        let (driver, flags) = (Arc::new(Overlay), NodeFlags::empty());
        let twin = IoNode::new(identity, "twin", driver, context, flags);
        //~^ E0308 "expected `NodeIdentity`, found `NodeUid`"
        assert_eq!(twin.uid(), NodeIdentity::fresh().uid());
        Ok(())
    });
}
