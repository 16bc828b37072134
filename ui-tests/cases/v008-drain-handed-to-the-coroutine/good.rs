//! Twin of bad.rs: what is to be done inside the section is done by the bottom half.

use block_gs::{BqlGuard, MainLoop, Node, drain_all};
use ui_tests::{in_main_loop, iothread, null, raw};

fn bdrv_drain_all_begin(bql: &mut BqlGuard, bs: &Node) -> u32 {
    bs.view(&drain_all(bql)).quiesce_count()
}

fn bdrv_co_drain_bh_cb(bql: &mut BqlGuard, bs: &Node) -> u32 {
    bdrv_drain_all_begin(bql, bs)
}

async fn bdrv_co_yield_to_drain(bs: Node, main: &MainLoop) -> u32 {
    let begun = main.call(move |bql| bdrv_co_drain_bh_cb(bql, &bs)).await;
    begun.expect("the main loop")
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
