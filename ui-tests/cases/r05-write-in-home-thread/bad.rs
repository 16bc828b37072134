//! Rule R5: The thread at home in a node's context writes no edges.
//! QEMU: None recorded. A writer in a home thread is kept away by an assertion.
//! Shape: thread.
//! Why: A section contains the guard of the main loop, and `HomeThread` is another proof.

use block_gs::{BqlGuard, Drained};
use ui_tests::{in_main_loop, iothread, null, overlay};

fn unplug(parent: &mut Drained<'_>) {
    parent.set_backing(None).expect("an edge");
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (base, main) = (null(bql, "base"), bql.main_loop());
        let top = overlay(bql, "top", &base);
        let unplugged = top.clone();
        iothread(bql, "io0").context().schedule(move |home| {
            assert_eq!(home.context().name(), "io0");
            unplug(home);
            //~^ E0308 "expected `&mut Drained<'_>`, found `&mut HomeThread<'_>`"
            drop((unplugged, main));
        });
        bql.poll_until(|bql| top.view(bql).children().count() == 0);
        Ok(())
    });
}
