//! Rule R8: A bottom half does not lend its proof to another thread, to wait there.
//! QEMU: None recorded. Whether code may block is asked of the thread.
//! Shape: thread.
//! Why: `HomeThread` says on which loop it is, so it stays on its thread.

use block_gs::BqlGuard;
use block_io::aio::yield_now;
use std::sync::mpsc;
use ui_tests::{in_main_loop, iothread};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (report, waited) = mpsc::channel();
        iothread(bql, "io0").context().schedule(move |home| {
            let done = std::thread::scope(|scope| {
                let thread = scope.spawn(|| home.block_on(yield_now()));
                //~^ E0277 "`Rc<aio::event_loop::Local>` cannot be shared between threads safely"
                thread.join().expect("no panic")
            });
            report.send(done.is_ok()).expect("a receiver");
        });
        assert!(waited.recv()?);
        Ok(())
    });
}
