//! Twin of bad.rs: the bottom half counts what it does as an activity of the node.

use block_gs::BqlGuard;
use block_io::Activity;
use std::sync::mpsc;
use ui_tests::{in_main_loop, iothread, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (report, flushed) = mpsc::channel();
        let node = null(bql, "node").io().clone();
        iothread(bql, "io0").context().schedule(move |home| {
            let counted = Activity::try_begin(&node).expect("not quiesced");
            let flush = node.driver().flush(counted.request());
            let result = home.block_on(flush).expect("an iothread");
            report.send(result.is_ok()).expect("a receiver");
        });
        assert!(flushed.recv()?);
        Ok(())
    });
}
