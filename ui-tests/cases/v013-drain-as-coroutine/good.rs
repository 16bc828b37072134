//! Twin of bad.rs: the coroutine names the main loop, and awaits the bottom half.

use block_gs::{BqlGuard, MainLoop, drain_all, sections_opened};
use ui_tests::in_main_loop;

fn bdrv_drain_all_begin(bql: &mut BqlGuard) {
    drain_all(bql).end();
}

fn bdrv_co_drain_bh_cb(bql: &mut BqlGuard) {
    bdrv_drain_all_begin(bql);
}

async fn bdrv_co_yield_to_drain(main: &MainLoop) {
    main.call(bdrv_co_drain_bh_cb).await.expect("the main loop");
}

async fn bdrv_do_drained_begin(main: &MainLoop, recursive: bool) {
    match recursive {
        true => Box::pin(bdrv_do_drained_begin(main, false)).await,
        false => bdrv_co_yield_to_drain(main).await,
    }
}

async fn bdrv_drained_begin(main: &MainLoop) {
    bdrv_do_drained_begin(main, true).await;
}

async fn bdrv_co_drain(main: MainLoop) {
    bdrv_drained_begin(&main).await;
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let before = sections_opened(bql);
        let context = bql.context().clone();
        let drain = context.spawn(bdrv_co_drain(bql.main_loop()));
        bql.block_on(drain);
        assert_eq!(sections_opened(bql), before + 1);
        Ok(())
    });
}
