//! Rule R10: A bottom half does not flush a driver without being counted.
//! QEMU: None recorded. A timer of a driver calls its own callbacks.
//! Shape: closure.
//! Why: A bottom half gets a `HomeThread`, and the functions of a driver take a `Request`.

use block_gs::BqlGuard;
use std::sync::mpsc;
use ui_tests::{in_main_loop, iothread, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (report, flushed) = mpsc::channel();
        let node = null(bql, "node").io().clone();
        iothread(bql, "io0").context().schedule(move |home| {
            let flush = node.driver().flush();
            //~^ E0061 "argument #1 of type"
            let result = home.block_on(flush).expect("an iothread");
            report.send(result.is_ok()).expect("a receiver");
        });
        assert!(flushed.recv()?);
        Ok(())
    });
}
