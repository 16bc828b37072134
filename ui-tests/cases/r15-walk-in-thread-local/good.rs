//! Twin of bad.rs: handles are put aside.

use block_gs::{BqlGuard, Node, nodes};
use std::cell::RefCell;
use ui_tests::{in_main_loop, null};

thread_local! {
    static REST: RefCell<Vec<Node>> = const { RefCell::new(Vec::new()) };
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let _nodes = [null(bql, "a"), null(bql, "b")];
        REST.set(nodes(bql).skip(1).map(|view| view.node(bql)).collect());
        assert_eq!(REST.take().len(), 1);
        Ok(())
    });
}
