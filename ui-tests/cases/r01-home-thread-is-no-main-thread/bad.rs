//! Rule R1: The proof of a home thread is none of the main thread.
//! QEMU: V006, blk_drain() in a home thread -> bdrv_ref(); V007-V014.
//! Shape: thread.
//! Why: There is no way from `HomeThread` to `BqlGuard`, only the other way round.

use block_gs::BqlGuard;
use std::sync::mpsc;
use ui_tests::{in_main_loop, iothread, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, main) = (null(bql, "node"), bql.main_loop());
        let (report, drained) = mpsc::channel();
        iothread(bql, "io0").context().schedule(move |home| {
            assert_eq!(home.context().name(), "io0");
            let section = node.drain(home);
            //~^ E0308 "expected `&mut BqlGuard`, found `&mut HomeThread<'_>`"
            report
                .send(section.node().name().to_owned())
                .expect("a receiver");
            let _ = main;
        });
        bql.poll_until(|_| drained.try_recv().is_ok_and(|name| name == "node"));
        Ok(())
    });
}
