//! Twin of bad.rs: the main loop passes its guard, the bottom half its home thread.

use block_gs::BqlGuard;
use std::sync::mpsc;
use ui_tests::{SIZE, disk, in_main_loop, iothread, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, io0) = (null(bql, "node"), iothread(bql, "io0"));
        let disk = disk(bql, "disk", &node);
        assert_eq!(disk.length_blocking(bql)?, SIZE);
        disk.set_iothread(bql, Some(&io0))?;
        let ((report, length), main) = (mpsc::channel(), bql.main_loop());
        io0.context().schedule(move |home| {
            report
                .send(disk.length_blocking(home).expect("its home"))
                .expect("a receiver");
            main.kick();
        });
        bql.poll_until(|_| length.try_recv() == Ok(SIZE));
        Ok(())
    });
}
