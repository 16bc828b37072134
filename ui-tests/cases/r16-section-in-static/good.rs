//! Twin of bad.rs: the static keeps the node, which is drained where it is needed.

use block_gs::{BqlGuard, Node};
use std::sync::Mutex;
use ui_tests::in_main_loop;

static TARGET: Mutex<Option<Node>> = Mutex::new(None);

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let left = TARGET.lock().expect("no panic").take();
        assert!(left.is_none(), "{bql:?}");
        Ok(())
    });
}
