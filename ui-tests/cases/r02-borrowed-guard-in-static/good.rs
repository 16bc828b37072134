//! Twin of bad.rs: the static keeps a handle of the main loop.

use block_gs::{BqlGuard, MainLoop};
use std::sync::Mutex;
use ui_tests::in_main_loop;

static MAIN: Mutex<Option<MainLoop>> = Mutex::new(None);

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let kept = MAIN.lock().expect("no panic");
        assert!(kept.is_none(), "{bql:?}");
        Ok(())
    });
}
