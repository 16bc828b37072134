//! Rule R4: The proof does not go through the `.await`s of a coroutine, also in the main loop.
//! QEMU: V013, bdrv_co_drain() -> bdrv_drained_begin() -> bdrv_do_drained_begin() ->
//! bdrv_do_drained_begin() -> bdrv_co_yield_to_drain() -> bdrv_co_drain_bh_cb() ->
//! bdrv_drain_all_begin().
//! Shape: async.
//! Why: Other main-loop code runs while a coroutine waits, so it cannot keep the guard meanwhile.

use block_gs::{BqlGuard, drain_all, sections_opened};
use ui_tests::in_main_loop;

fn bdrv_drain_all_begin(bql: &mut BqlGuard) {
    drain_all(bql).end();
}

fn bdrv_co_drain_bh_cb(bql: &mut BqlGuard) {
    bdrv_drain_all_begin(bql);
}

async fn bdrv_co_yield_to_drain(bql: &mut BqlGuard) {
    bdrv_co_drain_bh_cb(bql);
}

async fn bdrv_do_drained_begin(bql: &mut BqlGuard, recursive: bool) {
    match recursive {
        true => Box::pin(bdrv_do_drained_begin(bql, false)).await,
        false => bdrv_co_yield_to_drain(bql).await,
    }
}

async fn bdrv_drained_begin(bql: &mut BqlGuard) {
    bdrv_do_drained_begin(bql, true).await;
}

async fn bdrv_co_drain(bql: &mut BqlGuard) {
    bdrv_drained_begin(bql).await;
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let before = sections_opened(bql);
        let context = bql.context().clone();
        let drain = context.spawn(bdrv_co_drain(bql));
        //~^ "future cannot be sent between threads safely"
        bql.block_on(drain);
        assert_eq!(sections_opened(bql), before + 1);
        Ok(())
    });
}
