//! Rule R6: A coroutine that has a drain begun does not get the section.
//! QEMU: V008, bdrv_subtree_drained_begin() -> bdrv_do_drained_begin() ->
//! bdrv_do_drained_begin() -> bdrv_co_yield_to_drain() -> bdrv_co_drain_bh_cb() ->
//! bdrv_drain_all_begin().
//! Shape: return.
//! Why: The section borrows the `BqlGuard` that the bottom half was lent, and returns with it.

use block_gs::{BqlGuard, DrainedAll, MainLoop, Node, drain_all};
use std::sync::mpsc;
use ui_tests::{in_main_loop, iothread, null, raw};

fn bdrv_drain_all_begin(bql: &mut BqlGuard) -> DrainedAll<'_> {
    drain_all(bql)
}

fn bdrv_co_drain_bh_cb(bql: &mut BqlGuard) -> DrainedAll<'_> {
    bdrv_drain_all_begin(bql)
}

async fn bdrv_co_yield_to_drain(bs: Node, main: &MainLoop) -> u32 {
    let (begun, section) = mpsc::channel();
    main.schedule(move |bql| begun.send(bdrv_co_drain_bh_cb(bql)).expect("a receiver"));
    //~^ E0277 "required because it appears within the type `DrainedAll<'_>`"
    bs.view(&section.recv().expect("a section")).quiesce_count()
}

async fn bdrv_do_drained_begin(bs: Node, recursive: bool, main: &MainLoop) -> u32 {
    match recursive {
        true => Box::pin(bdrv_do_drained_begin(bs, false, main)).await,
        false => bdrv_co_yield_to_drain(bs, main).await,
    }
}

async fn bdrv_subtree_drained_begin(bs: Node, main: MainLoop) -> u32 {
    bdrv_do_drained_begin(bs, true, &main).await
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let file = null(bql, "file");
        let format = raw(bql, "format", &file);
        let begin = bdrv_subtree_drained_begin(format, bql.main_loop());
        let begin = iothread(bql, "io0").context().spawn(begin);
        assert!(bql.block_on(begin) > 0);
        assert_eq!(file.view(bql).quiesce_count(), 0);
        Ok(())
    });
}
