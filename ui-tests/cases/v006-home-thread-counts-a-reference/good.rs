//! Twin of bad.rs: the function is for the main thread, and the home thread asks for it.

use block_gs::{Backend, BqlGuard, Node};
use std::sync::mpsc;
use ui_tests::{disk, in_main_loop, iothread, null};

fn bdrv_ref(bql: &BqlGuard, blk: &Backend) -> Option<Node> {
    blk.node(bql)
}

fn blk_drain(bql: &mut BqlGuard, blk: &Backend) -> Option<Node> {
    let bs = bdrv_ref(bql, blk);
    bs.as_ref()?.drain(bql).end();
    bs
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, io0) = (null(bql, "node"), iothread(bql, "io0"));
        let (blk, main) = (disk(bql, "disk", &node), bql.main_loop());
        blk.set_iothread(bql, Some(&io0))?;
        let (report, drained) = mpsc::channel();
        io0.context().schedule(move |home| {
            assert_eq!(home.context().name(), "io0");
            main.schedule(move |bql| report.send(blk_drain(bql, &blk)).expect("a receiver"));
        });
        bql.poll_until(|_| drained.try_recv().as_ref() == Ok(&Some(node.clone())));
        Ok(())
    });
}
