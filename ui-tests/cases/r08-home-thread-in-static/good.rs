//! Twin of bad.rs: the static keeps the context, with which a bottom half can be asked for.

use block_gs::BqlGuard;
use block_io::aio::AioContext;
use std::sync::Mutex;
use ui_tests::in_main_loop;

static HOME: Mutex<Option<AioContext>> = Mutex::new(None);

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let home = HOME.lock().expect("no panic");
        assert!(home.is_none(), "{bql:?}");
        Ok(())
    });
}
