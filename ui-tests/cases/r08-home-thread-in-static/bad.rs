//! Rule R8: The proof of a home thread is not kept where a coroutine finds it.
//! QEMU: None recorded. qemu_get_current_aio_context() can be asked in a coroutine.
//! Shape: static.
//! Why: A static is everybody's, and `HomeThread` is not `Send`.

use block_gs::BqlGuard;
use block_io::aio::HomeThread;
use std::sync::Mutex;
use ui_tests::in_main_loop;

static HOME: Mutex<Option<HomeThread<'static>>> = Mutex::new(None);
//~^ E0277 "`Rc<aio::event_loop::Local>` cannot be shared between threads safely"

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let home = HOME.lock().expect("no panic");
        assert!(home.is_none(), "{bql:?}");
        Ok(())
    });
}
