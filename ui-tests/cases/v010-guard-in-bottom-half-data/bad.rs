//! Rule R2: What a bottom half is given to work on does not contain the proof.
//! QEMU: V010, bdrv_subtree_drained_end() -> bdrv_do_drained_end() -> bdrv_do_drained_end() ->
//! bdrv_co_yield_to_drain() -> bdrv_co_drain_bh_cb() -> bdrv_drain_all_begin().
//! Shape: field.
//! Why: `BdrvCoDrainData` goes to another thread as an opaque pointer, which must be `Send`.

use block_gs::{BqlGuard, drain_all, sections_opened};
use block_io::aio::AioContext;
use std::any::Any;
use ui_tests::{in_main_loop, iothread};

struct BdrvCoDrainData<'b> {
    bql: &'b mut BqlGuard,
}

fn bdrv_drain_all_begin(bql: &mut BqlGuard) {
    drain_all(bql).end();
}

fn bdrv_co_drain_bh_cb(opaque: Box<dyn Any + Send>) {
    let data: Box<BdrvCoDrainData> = opaque.downcast().expect("its data");
    bdrv_drain_all_begin(data.bql);
}

fn bdrv_co_yield_to_drain(context: &AioContext, data: BdrvCoDrainData) {
    let opaque: Box<dyn Any + Send> = Box::new(data);
    //~^ E0277 "required because it appears within the type `BdrvCoDrainData<'_>`"
    context.schedule(move |_home| bdrv_co_drain_bh_cb(opaque));
}

fn bdrv_do_drained_end(context: &AioContext, recursive: bool, data: BdrvCoDrainData) {
    match recursive {
        true => bdrv_do_drained_end(context, false, data),
        false => bdrv_co_yield_to_drain(context, data),
    }
}

fn bdrv_subtree_drained_end(context: &AioContext, bql: &mut BqlGuard) {
    bdrv_do_drained_end(context, true, BdrvCoDrainData { bql });
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
