//! Rule R1: A callback that a request runs cannot look a node up.
//! QEMU: None recorded. A notifier of a request runs in whichever thread the request runs in.
//! Shape: closure.
//! Why: The closure gets what its caller has, and a request has no guard.

use block_gs::{BqlGuard, Node};
use block_io::Buffer;
use std::sync::mpsc;
use ui_tests::{disk, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, main) = (null(bql, "node"), bql.main_loop());
        let (report, found) = mpsc::channel();
        node.drain(bql).set_write_threshold(512, move |name, _, _| {
            let found = Node::find(name);
            //~^ E0061 "argument #1 of type `&BqlGuard` is missing"
            report.send(found.is_some()).expect("a receiver");
            drop(main);
        });
        let disk = disk(bql, "disk", &node);
        disk.write_blocking(bql, 512, Buffer::zeroed(512).source())?;
        bql.poll_until(|_| found.try_recv() == Ok(true));
        Ok(())
    });
}
