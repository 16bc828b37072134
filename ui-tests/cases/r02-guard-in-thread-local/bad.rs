//! Rule R2: The proof cannot be kept for later, not even on its own thread.
//! QEMU: None recorded. qemu_in_main_thread() can be asked from anywhere.
//! Shape: static.
//! Why: The main loop lends the guard for one call; the borrow is shorter than `'static`.

use block_gs::BqlGuard;
use std::cell::RefCell;
use ui_tests::in_main_loop;

thread_local! {
    static KEPT: RefCell<Option<&'static mut BqlGuard>> = const { RefCell::new(None) };
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        KEPT.set(Some(bql));
        //~^ "borrowed data escapes outside of closure"
        assert!(KEPT.with_borrow(|kept| kept.is_some()));
        Ok(())
    });
}
