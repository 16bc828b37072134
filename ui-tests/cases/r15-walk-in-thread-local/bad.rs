//! Rule R15: What is left of a walk is not put aside for the next callback to go on with.
//! QEMU: None recorded. An iterator is a struct of pointers, and can be kept.
//! Shape: static.
//! Why: A view borrows the guard, and the next callback gets another one.

use block_gs::{BqlGuard, NodeView, nodes};
use std::cell::RefCell;
use ui_tests::{in_main_loop, null};

thread_local! {
    static REST: RefCell<Vec<NodeView<'static>>> = const { RefCell::new(Vec::new()) };
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let _nodes = [null(bql, "a"), null(bql, "b")];
        REST.set(nodes(bql).skip(1).collect());
        //~^ "borrowed data escapes outside of closure"
        assert_eq!(REST.take().len(), 1);
        Ok(())
    });
}
