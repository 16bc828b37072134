//! Twin of bad.rs: the data names the main loop, and that lends the proof.

use block_gs::{BqlGuard, MainLoop, drain_all, sections_opened};
use block_io::aio::AioContext;
use std::any::Any;
use ui_tests::{in_main_loop, iothread};

struct BdrvCoDrainData {
    main: MainLoop,
}

fn bdrv_drain_all_begin(bql: &mut BqlGuard) {
    drain_all(bql).end();
}

fn bdrv_co_drain_bh_cb(opaque: Box<dyn Any + Send>) {
    let data: Box<BdrvCoDrainData> = opaque.downcast().expect("its data");
    data.main.schedule(bdrv_drain_all_begin);
}

fn bdrv_co_yield_to_drain(context: &AioContext, data: BdrvCoDrainData) {
    let opaque: Box<dyn Any + Send> = Box::new(data);
    context.schedule(move |_home| bdrv_co_drain_bh_cb(opaque));
}

fn bdrv_do_drained_end(context: &AioContext, recursive: bool, data: BdrvCoDrainData) {
    match recursive {
        true => bdrv_do_drained_end(context, false, data),
        false => bdrv_co_yield_to_drain(context, data),
    }
}

fn bdrv_subtree_drained_end(context: &AioContext, bql: &mut BqlGuard) {
    let main = bql.main_loop();
    bdrv_do_drained_end(context, true, BdrvCoDrainData { main });
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let io0 = iothread(bql, "io0");
        let before = sections_opened(bql);
        bdrv_subtree_drained_end(io0.context(), bql);
        bql.poll_until(|bql| sections_opened(bql) > before);
        Ok(())
    });
}
