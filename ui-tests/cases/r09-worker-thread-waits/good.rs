//! Twin of bad.rs: the work is a bottom half of the home thread.

use block_gs::BqlGuard;
use std::sync::mpsc;
use ui_tests::{SIZE, disk, in_main_loop, iothread, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, io0) = (null(bql, "node"), iothread(bql, "io0"));
        let disk = disk(bql, "disk", &node);
        disk.set_iothread(bql, Some(&io0))?;
        let (send, sent) = mpsc::channel();
        io0.context()
            .schedule(move |home| drop(send.send(disk.length_blocking(home))));
        let length = sent.recv()?;
        assert_eq!(length?, SIZE);
        Ok(())
    });
}
