//! Twin of bad.rs: the home thread waits for its own requests, the main loop drains.

use block_gs::{BqlGuard, MainLoop, drain_all, sections_opened};
use block_io::aio::HomeThread;
use ui_tests::{in_main_loop, iothread};

fn bdrv_drain_all_begin(bql: &mut BqlGuard) {
    drain_all(bql).end();
}

fn bdrv_co_drain_bh_cb(bql: &mut BqlGuard) {
    bdrv_drain_all_begin(bql);
}

fn bdrv_co_yield_to_drain(home: &mut HomeThread<'_>, main: &MainLoop) {
    assert_eq!(home.context().name(), "io0");
    main.schedule(bdrv_co_drain_bh_cb);
}

fn bdrv_do_drained_begin(home: &mut HomeThread<'_>, recursive: bool, main: &MainLoop) {
    match recursive {
        true => bdrv_do_drained_begin(home, false, main),
        false => bdrv_co_yield_to_drain(home, main),
    }
}

fn bdrv_drained_begin(home: &mut HomeThread<'_>, main: &MainLoop) {
    bdrv_do_drained_begin(home, true, main);
}

fn bdrv_drain(home: &mut HomeThread<'_>, main: &MainLoop) {
    bdrv_drained_begin(home, main);
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (io0, main) = (iothread(bql, "io0"), bql.main_loop());
        let before = sections_opened(bql);
        io0.context().schedule(move |home| bdrv_drain(home, &main));
        bql.poll_until(|bql| sections_opened(bql) > before);
        Ok(())
    });
}
