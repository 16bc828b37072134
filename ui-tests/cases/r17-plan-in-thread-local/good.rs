//! Twin of bad.rs: it is committed at once.

use block_gs::{BqlGuard, Drained, GraphError};
use std::cell::RefCell;
use ui_tests::{in_main_loop, null, overlay};

thread_local! {
    static DONE: RefCell<Option<Result<(), GraphError>>> = const { RefCell::new(None) };
}

fn unplug(section: &mut Drained<'_>) {
    DONE.set(Some(section.set_backing(None)));
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let mut section = top.drain(bql);
        unplug(&mut section);
        assert!(matches!(DONE.take(), Some(Ok(()))));
        Ok(())
    });
}
