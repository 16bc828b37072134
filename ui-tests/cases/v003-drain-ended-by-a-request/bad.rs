//! Rule R8: A request does not reach the drain that waits for it.
//! QEMU: V003, bdrv_drained_end_no_poll() -> bdrv_do_drained_end() -> bdrv_do_drained_end() ->
//! bdrv_co_yield_to_drain() -> bdrv_co_drain_bh_cb() -> bdrv_drain_all_begin().
//! Shape: argument.
//! Why: `drain_all` runs the main loop and takes a `&mut BqlGuard`; the chain has its request.

use block_gs::{BqlGuard, drain_all, sections_opened};
use block_io::{IoError, Request, Root};
use ui_tests::{disk, in_main_loop, null, raw};

fn bdrv_drain_all_begin(bql: &mut BqlGuard) {
    drain_all(bql).end();
}

fn bdrv_co_drain_bh_cb(request: Request<'_>) {
    bdrv_drain_all_begin(request);
    //~^ E0308 "expected `&mut BqlGuard`, found `Request<'_>`"
}

fn bdrv_co_yield_to_drain(request: Request<'_>) {
    bdrv_co_drain_bh_cb(request);
}

fn bdrv_do_drained_end(request: Request<'_>) {
    match request.file() {
        Ok(child) => bdrv_do_drained_end(child),
        Err(_) => bdrv_co_yield_to_drain(request),
    }
}

async fn bdrv_drained_end_no_poll(root: Root) -> Result<(), IoError> {
    let in_flight = root.begin().await;
    bdrv_do_drained_end(in_flight.request()?);
    Ok(())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let file = null(bql, "file");
        let format = raw(bql, "format", &file);
        let blk = disk(bql, "disk", &format);
        let root = blk.root().clone();
        let before = sections_opened(bql);
        let end = root.spawn(bdrv_drained_end_no_poll(root.clone()));
        bql.block_on(end)?;
        bql.poll_until(|bql| sections_opened(bql) > before);
        Ok(())
    });
}
