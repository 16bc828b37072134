//! Accept A5: I/O code asks the main loop for a global change, and awaits the answer.
//! QEMU: bdrv_co_yield_to_drain(), the no_co_wrapper functions, aio_bh_schedule_oneshot().
//! Why: `MainLoop` is `Send + Sync` and holds no proof; the closure gets one when it runs.

use block_gs::{BqlGuard, GraphError, MainLoop, Node};
use ui_tests::{in_main_loop, iothread, null, overlay};

async fn stream_clean(top: Node, base: Node, main: MainLoop) -> Result<String, GraphError> {
    let section = top.drained_by(&main, move |section| section.set_backing(Some(&base)));
    section.await.expect("the main loop")?;
    let backing = main.call(move |bql| {
        let edge = top.view(bql).child("backing");
        edge.expect("just set").child().name().to_owned()
    });
    Ok(backing.await.expect("the main loop"))
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (old, base) = (null(bql, "old"), null(bql, "base"));
        let clean = stream_clean(overlay(bql, "top", &old), base, bql.main_loop());
        let clean = iothread(bql, "io0").context().spawn(clean);
        assert_eq!(bql.block_on(clean)?, "base");
        Ok(())
    });
}
