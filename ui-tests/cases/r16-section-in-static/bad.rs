//! Rule R16: A section is not put in a static for somebody else to end.
//! QEMU: 10.0.2, mirror_run() begins a section that mirror_exit_common() ends.
//! Shape: static.
//! Why: The static is everybody's, and a section is as little `Send` as the guard inside.

use block_gs::{BqlGuard, Drained};
use std::sync::Mutex;
use ui_tests::in_main_loop;

static OPEN: Mutex<Option<Drained<'static>>> = Mutex::new(None);
//~^ E0277 "cannot be sent between threads safely"

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let left = OPEN.lock().expect("no panic").take();
        assert!(left.is_none(), "{bql:?}");
        Ok(())
    });
}
