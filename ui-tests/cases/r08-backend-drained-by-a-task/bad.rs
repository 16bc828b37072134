//! Rule R8: A task does not drain a backend, also not one without a medium.
//! QEMU: V006, blk_drain() -> bdrv_ref(); V090, blk_drain() was sorted as I/O, and polls.
//! Shape: argument.
//! Why: It waits for requests by running the main loop, which takes `&mut BqlGuard`.

use block_gs::{Backend, BqlGuard, MainLoop, Perm};
use ui_tests::{in_main_loop, iothread};

async fn device_reset(blk: Backend, main: MainLoop) -> u32 {
    let section = blk.drain();
    //~^ E0061 "argument #1 of type `&mut BqlGuard` is missing"
    drop(main);
    section.backend().root().quiesce_count()
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
