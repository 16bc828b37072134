//! Rule R1: The bottom half that begins a drain is none of an iothread.
//! QEMU: V007, bdrv_drained_begin() -> bdrv_do_drained_begin() -> bdrv_do_drained_begin() ->
//! bdrv_co_yield_to_drain() -> bdrv_co_drain_bh_cb() -> bdrv_drain_all_begin().
//! Shape: closure.
//! Why: A loop lends its bottom halves a `HomeThread`; the callback wants a `&mut BqlGuard`.

use block_gs::{BqlGuard, MainLoop, Node, drain_all, sections_opened};
use ui_tests::{in_main_loop, iothread, null, raw};

fn bdrv_drain_all_begin(bql: &mut BqlGuard) {
    drain_all(bql).end();
}

fn bdrv_co_drain_bh_cb(bql: &mut BqlGuard) {
    bdrv_drain_all_begin(bql);
}

fn bdrv_co_yield_to_drain(bs: &Node, main: &MainLoop) {
    bs.io().context().schedule(bdrv_co_drain_bh_cb);
    //~^ E0631 "found function signature `fn(&mut BqlGuard) -> _`"
    main.kick();
}

fn bdrv_do_drained_begin(nodes: &[Node], main: &MainLoop) {
    match nodes {
        [_, below @ ..] if !below.is_empty() => bdrv_do_drained_begin(below, main),
        [last, ..] => bdrv_co_yield_to_drain(last, main),
        [] => {}
    }
}

async fn bdrv_drained_begin(chain: Vec<Node>, main: MainLoop) {
    bdrv_do_drained_begin(&chain, &main);
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let file = null(bql, "file");
        let chain = vec![raw(bql, "format", &file), file];
        let before = sections_opened(bql);
        let begin = bdrv_drained_begin(chain, bql.main_loop());
        let begin = iothread(bql, "io0").context().spawn(begin);
        bql.block_on(begin);
        bql.poll_until(|bql| sections_opened(bql) > before);
        Ok(())
    });
}
