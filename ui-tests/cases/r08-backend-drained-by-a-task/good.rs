//! Twin of bad.rs: the task asks the main loop.

use block_gs::{Backend, BqlGuard, MainLoop, Perm};
use ui_tests::{in_main_loop, iothread};

async fn device_reset(blk: Backend, main: MainLoop) -> u32 {
    let drain = main.call(move |bql| {
        let section = blk.drain(bql);
        section.backend().root().quiesce_count()
    });
    drain.await.expect("the main loop")
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let blk = Backend::new(bql, "blk", Perm::empty(), Perm::all())?;
        let reset = device_reset(blk, bql.main_loop());
        let reset = iothread(bql, "io0").context().spawn(reset);
        assert_eq!(bql.block_on(reset), 1);
        Ok(())
    });
}
