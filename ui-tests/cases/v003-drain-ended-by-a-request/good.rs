//! Twin of bad.rs: the bottom half is one of the main loop, and nobody waits for it.

use block_gs::{BqlGuard, MainLoop, drain_all, sections_opened};
use block_io::{IoError, Request, Root};
use ui_tests::{disk, in_main_loop, null, raw};

fn bdrv_drain_all_begin(bql: &mut BqlGuard) {
    drain_all(bql).end();
}

fn bdrv_co_drain_bh_cb(bql: &mut BqlGuard) {
    bdrv_drain_all_begin(bql);
}

fn bdrv_co_yield_to_drain(main: &MainLoop) {
    main.schedule(bdrv_co_drain_bh_cb);
}

fn bdrv_do_drained_end(request: Request<'_>, main: &MainLoop) {
    match request.file() {
        Ok(child) => bdrv_do_drained_end(child, main),
        Err(_) => bdrv_co_yield_to_drain(main),
    }
}

async fn bdrv_drained_end_no_poll(root: Root, main: MainLoop) -> Result<(), IoError> {
    let in_flight = root.begin().await;
    bdrv_do_drained_end(in_flight.request()?, &main);
    Ok(())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let file = null(bql, "file");
        let format = raw(bql, "format", &file);
        let blk = disk(bql, "disk", &format);
        let root = blk.root().clone();
        let before = sections_opened(bql);
        let end = root.spawn(bdrv_drained_end_no_poll(root.clone(), bql.main_loop()));
        bql.block_on(end)?;
        bql.poll_until(|bql| sections_opened(bql) > before);
        Ok(())
    });
}
