//! Rule R7: A view is not kept for the next callback.
//! QEMU: None recorded. A pointer to a node can be kept in a static, and freed meanwhile.
//! Shape: static.
//! Why: The view borrows the guard, and the next callback gets another one.

use block_gs::{BqlGuard, NodeView};
use std::cell::RefCell;
use ui_tests::{in_main_loop, null};

thread_local! {
    static LAST: RefCell<Option<NodeView<'static>>> = const { RefCell::new(None) };
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        LAST.set(Some(node.view(bql)));
        //~^ "borrowed data escapes outside of closure"
        assert_eq!(LAST.take().expect("just set").name(), "node");
        Ok(())
    });
}
