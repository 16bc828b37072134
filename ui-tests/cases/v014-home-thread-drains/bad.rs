//! Rule R1: Who waits in a home thread cannot drain what others are at home with.
//! QEMU: V014, bdrv_drain() -> bdrv_drained_begin() -> bdrv_do_drained_begin() ->
//! bdrv_do_drained_begin() -> bdrv_co_yield_to_drain() -> bdrv_co_drain_bh_cb() ->
//! bdrv_drain_all_begin().
//! Shape: argument.
//! Why: A `HomeThread` proves where it runs. That is not the main thread, and does not become it.

use block_gs::{BqlGuard, MainLoop, drain_all, sections_opened};
use block_io::aio::HomeThread;
use ui_tests::{in_main_loop, iothread};

fn bdrv_drain_all_begin(bql: &mut BqlGuard) {
    drain_all(bql).end();
}

fn bdrv_co_drain_bh_cb(home: &mut HomeThread<'_>) {
    bdrv_drain_all_begin(home);
    //~^ E0308 "expected `&mut BqlGuard`, found `&mut HomeThread<'_>`"
}

fn bdrv_co_yield_to_drain(home: &mut HomeThread<'_>, main: &MainLoop) {
    bdrv_co_drain_bh_cb(home);
    main.kick();
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
