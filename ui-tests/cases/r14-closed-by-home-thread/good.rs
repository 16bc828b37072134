//! Twin of bad.rs: the home thread asks the main loop.

use block_gs::{BlockDriver, BqlGuard};
use std::sync::mpsc;
use ui_tests::{Overlay, in_main_loop, iothread};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let ((report, closed), main) = (mpsc::channel(), bql.main_loop());
        iothread(bql, "io0").context().schedule(move |home| {
            assert_eq!(home.context().name(), "io0");
            main.schedule(move |bql| {
                Overlay.close(bql);
                report.send(true).expect("a receiver");
            });
        });
        bql.poll_until(|_| closed.try_recv() == Ok(true));
        Ok(())
    });
}
