//! Twin of bad.rs: the static holds a `MainLoop`, which asks for the proof instead of holding
//! one.

use block_gs::{BqlGuard, MainLoop};
use std::sync::Mutex;
use ui_tests::in_main_loop;

static MAIN: Mutex<Option<MainLoop>> = Mutex::new(None);

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        *MAIN.lock().expect("no panic") = Some(bql.main_loop());
        let kept = MAIN.lock().expect("no panic").clone();
        assert!(kept.is_some_and(|main| main.context().is_main()));
        Ok(())
    });
}
