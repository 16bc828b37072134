//! Twin of bad.rs: the callback asks the main loop, which has the guard.

use block_gs::{BqlGuard, Node};
use block_io::Buffer;
use std::sync::mpsc;
use ui_tests::{disk, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, main) = (null(bql, "node"), bql.main_loop());
        let (report, found) = mpsc::channel();
        node.drain(bql).set_write_threshold(512, move |name, _, _| {
            let name = name.to_owned();
            main.schedule(move |bql| {
                let found = Node::find(bql, &name);
                report.send(found.is_some()).expect("a receiver");
            });
        });
        let disk = disk(bql, "disk", &node);
        disk.write_blocking(bql, 512, Buffer::zeroed(512).source())?;
        bql.poll_until(|_| found.try_recv() == Ok(true));
        Ok(())
    });
}
