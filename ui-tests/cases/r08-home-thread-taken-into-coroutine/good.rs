//! Twin of bad.rs: the bottom half itself waits.

use block_gs::BqlGuard;
use block_io::aio::sleep;
use std::{sync::mpsc, time::Duration};
use ui_tests::{in_main_loop, iothread};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let ((report, done), main) = (mpsc::channel(), bql.main_loop());
        iothread(bql, "io0").context().schedule(move |home| {
            home.block_on(sleep(Duration::ZERO))
                .expect("not the main loop");
            report.send(()).expect("a receiver");
            main.kick();
        });
        bql.poll_until(|_| done.try_recv().is_ok());
        Ok(())
    });
}
