//! Rule R1: What may run in a home thread cannot do what only the main thread may.
//! QEMU: V006, blk_drain() -> bdrv_ref().
//! Shape: generic.
//! Why: `MainOrHome` says "one of the two", and there is no way from it to the `BqlGuard`.

use block_gs::{Backend, BqlGuard, MainOrHome, Node};
use std::sync::mpsc;
use ui_tests::{disk, in_main_loop, iothread, null};

fn bdrv_ref(bql: &BqlGuard, blk: &Backend) -> Option<Node> {
    blk.node(bql)
}

fn blk_drain(at: &mut impl MainOrHome, blk: &Backend) -> Option<Node> {
    let bs = bdrv_ref(at, blk);
    //~^ E0308 "expected `&BqlGuard`, found `&mut impl MainOrHome`"
    blk.flush_blocking(at).ok()?;
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
            report.send(blk_drain(home, &blk)).expect("a receiver");
            main.kick();
        });
        bql.poll_until(|_| drained.try_recv().as_ref() == Ok(&Some(node.clone())));
        Ok(())
    });
}
