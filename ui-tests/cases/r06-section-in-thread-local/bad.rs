//! Rule R6: A section is not kept in a thread-local until somebody ends it.
//! QEMU: None recorded. A section is a counter in the node, and so is kept anyway.
//! Shape: static.
//! Why: The section borrows the guard, which the main loop lends for one call.

use block_gs::{BqlGuard, Drained};
use std::cell::RefCell;
use ui_tests::{in_main_loop, null};

thread_local! {
    static OPEN: RefCell<Option<Drained<'static>>> = const { RefCell::new(None) };
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        OPEN.set(Some(node.drain(bql)));
        //~^ "borrowed data escapes outside of closure"
        OPEN.take().expect("just set").end();
        Ok(())
    });
}
