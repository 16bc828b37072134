//! Twin of bad.rs: the thread-local keeps the node, which is drained again.

use block_gs::{BqlGuard, Node};
use std::cell::RefCell;
use ui_tests::{in_main_loop, null};

thread_local! {
    static OPEN: RefCell<Option<Node>> = const { RefCell::new(None) };
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        OPEN.set(Some(node.clone()));
        OPEN.take().expect("just set").drain(bql).end();
        assert_eq!(node.view(bql).quiesce_count(), 0);
        Ok(())
    });
}
