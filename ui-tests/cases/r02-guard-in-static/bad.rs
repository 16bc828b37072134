//! Rule R2: The proof cannot be kept in a static.
//! QEMU: None recorded. Whether the BQL is held is asked of the thread, from anywhere.
//! Shape: static.
//! Why: A static is shared by all threads, and `BqlGuard` cannot even be sent to another.

use block_gs::BqlGuard;
use std::sync::Mutex;
use ui_tests::in_main_loop;

static MAIN: Mutex<Option<BqlGuard>> = Mutex::new(None);
//~^ E0277 "cannot be sent between threads safely"

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let kept = MAIN.lock().expect("no panic");
        assert!(kept.is_none(), "{bql:?}");
        Ok(())
    });
}
