//! Rule R14: The thread at home in a node's context does not close the driver.
//! QEMU: None recorded. That a driver is closed in the main thread is asserted.
//! Shape: thread.
//! Why: `close` takes the proof of the main thread, and `HomeThread` is another one.

use block_gs::{BlockDriver, BqlGuard};
use std::sync::mpsc;
use ui_tests::{Overlay, in_main_loop, iothread};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let ((report, closed), main) = (mpsc::channel(), bql.main_loop());
        iothread(bql, "io0").context().schedule(move |home| {
            assert_eq!(home.context().name(), "io0");
            Overlay.close(home);
            //~^ E0308 "expected `&mut BqlGuard`, found `&mut HomeThread<'_>`"
            report.send(main.context().is_main()).expect("a receiver");
        });
        bql.poll_until(|_| closed.try_recv() == Ok(true));
        Ok(())
    });
}
