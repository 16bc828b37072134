//! Limit: A thread-local can carry a `MainLoop` to code whose signature does not show it.
//! QEMU: qemu_get_aio_context() from anywhere.
//! Why: Asking is allowed to everybody; only the answer comes with a proof, later and
//! elsewhere.

use block_gs::{BqlGuard, MainLoop, nodes};
use block_io::aio::Wait;
use std::cell::RefCell;
use ui_tests::{in_main_loop, null};

thread_local! {
    static MAIN: RefCell<Option<MainLoop>> = const { RefCell::new(None) };
}

fn hidden() {
    MAIN.with_borrow(|main| {
        let main = main.as_ref().expect("set");
        main.schedule(|bql| drop(null(bql, "made-by-hidden")));
    });
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        MAIN.set(Some(bql.main_loop()));
        hidden();
        assert_eq!(nodes(bql).count(), 0);
        assert!(bql.poll(Wait::No));
        Ok(())
    });
}
