//! Rule R2: Not even a borrow of the proof can be kept in a static.
//! QEMU: None recorded. Whether the BQL is held is asked of the thread, from anywhere.
//! Shape: static.
//! Why: `BqlGuard` is not `Sync`, so a borrow of it is not `Send`, and no lock makes it so.

use block_gs::BqlGuard;
use std::sync::Mutex;
use ui_tests::in_main_loop;

static MAIN: Mutex<Option<&BqlGuard>> = Mutex::new(None);
//~^ E0277 "cannot be shared between threads safely"

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let kept = MAIN.lock().expect("no panic");
        assert!(kept.is_none(), "{bql:?}");
        Ok(())
    });
}
