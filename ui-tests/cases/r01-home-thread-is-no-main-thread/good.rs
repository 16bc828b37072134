//! Twin of bad.rs: the bottom half asks the main loop for the drained section.

use block_gs::BqlGuard;
use std::sync::mpsc;
use ui_tests::{in_main_loop, iothread, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, main) = (null(bql, "node"), bql.main_loop());
        let (report, drained) = mpsc::channel();
        iothread(bql, "io0").context().schedule(move |home| {
            assert_eq!(home.context().name(), "io0");
            main.schedule(move |bql| {
                let section = node.drain(bql);
                report
                    .send(section.node().name().to_owned())
                    .expect("a receiver");
            });
        });
        bql.poll_until(|_| drained.try_recv().is_ok_and(|name| name == "node"));
        Ok(())
    });
}
