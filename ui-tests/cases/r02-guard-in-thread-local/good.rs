//! Twin of bad.rs: what is kept is a `MainLoop`, and the proof comes with the call.

use block_gs::{BqlGuard, MainLoop};
use std::cell::RefCell;
use ui_tests::in_main_loop;

thread_local! {
    static KEPT: RefCell<Option<MainLoop>> = const { RefCell::new(None) };
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        KEPT.set(Some(bql.main_loop()));
        assert!(KEPT.with_borrow(|kept| kept.is_some()));
        Ok(())
    });
}
