//! Twin of bad.rs: a handle is kept, and looked up again.

use block_gs::{BqlGuard, Node};
use std::{cell::RefCell, time::Duration};
use ui_tests::{in_main_loop, null};

thread_local! {
    static LAST: RefCell<Option<Node>> = const { RefCell::new(None) };
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        LAST.set(Some(node));
        bql.run_for(Duration::ZERO);
        assert_eq!(LAST.take().expect("just set").name(), "node");
        Ok(())
    });
}
