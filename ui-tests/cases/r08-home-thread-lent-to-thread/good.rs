//! Twin of bad.rs: the bottom half waits itself.

use block_gs::BqlGuard;
use block_io::aio::yield_now;
use std::sync::mpsc;
use ui_tests::{in_main_loop, iothread};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (report, waited) = mpsc::channel();
        iothread(bql, "io0").context().schedule(move |home| {
            let done = home.block_on(yield_now());
            report.send(done.is_ok()).expect("a receiver");
        });
        assert!(waited.recv()?);
        Ok(())
    });
}
