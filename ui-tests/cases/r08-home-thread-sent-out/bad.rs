//! Rule R8: A bottom half does not pass on the proof that it is lent.
//! QEMU: None recorded. Whether code may block is asked of the thread.
//! Shape: closure.
//! Why: `HomeThread` is lent for one call, and is not `Send`.

use block_gs::BqlGuard;
use block_io::aio::HomeThread;
use std::sync::mpsc;
use ui_tests::{in_main_loop, iothread};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (send, sent) = mpsc::channel::<&HomeThread<'_>>();
        iothread(bql, "io0")
            .context()
            .schedule(move |home| send.send(home).expect("a receiver"));
        //~^ E0277 "`Rc<aio::event_loop::Local>` cannot be shared between threads safely"
        assert_eq!(sent.recv()?.context().name(), "io0");
        Ok(())
    });
}
