//! Twin of bad.rs: it is committed at once.

use block_gs::{BqlGuard, Node};
use std::cell::RefCell;
use ui_tests::{in_main_loop, null, overlay};

thread_local! {
    static DONE: RefCell<Option<Node>> = const { RefCell::new(None) };
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let mut section = top.drain(bql);
        section.transaction().commit()?;
        DONE.set(Some(top));
        Ok(())
    });
}
