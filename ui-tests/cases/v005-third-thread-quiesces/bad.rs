//! Rule R9: A function for any thread does not reach one for the main or the home thread.
//! QEMU: V005, bdrv_drained_end_no_poll() -> bdrv_do_drained_end() -> bdrv_do_drained_end() ->
//! bdrv_co_yield_to_drain() -> bdrv_co_drain_bh_cb() -> bdrv_drain_all_begin() ->
//! bdrv_do_drained_begin() -> bdrv_do_drained_begin() -> bdrv_do_drained_begin_quiesce().
//! Shape: generic.
//! Why: "Any thread" is a parameter without a bound, and the bound does not follow from nothing.

use block_gs::{Backend, BqlGuard, MainOrHome};
use block_io::aio::EventLoop;
use std::sync::mpsc;
use ui_tests::{SIZE, disk, in_main_loop, iothread, null};

fn bdrv_do_drained_begin_quiesce<P: MainOrHome>(at: &mut P, blk: &Backend) -> u64 {
    blk.length_blocking(at).expect("a medium")
}

fn bdrv_do_drained_begin<P>(at: &mut P, blk: &Backend, recursive: bool) -> u64 {
    match recursive {
        true => bdrv_do_drained_begin(at, blk, false),
        false => bdrv_do_drained_begin_quiesce(at, blk),
        //~^ E0277 "waiting for I/O needs a proof of the main thread or of the home thread, and `P` is neither"
    }
}

fn bdrv_drain_all_begin<P>(at: &mut P, blk: &Backend) -> u64 {
    bdrv_do_drained_begin(at, blk, true)
}

fn bdrv_co_drain_bh_cb<P>(at: &mut P, blk: &Backend) -> u64 {
    bdrv_drain_all_begin(at, blk)
}

fn bdrv_co_yield_to_drain<P>(at: &mut P, blk: &Backend) -> u64 {
    bdrv_co_drain_bh_cb(at, blk)
}

fn bdrv_do_drained_end<P>(at: &mut P, blk: &Backend, recursive: bool) -> u64 {
    match recursive {
        true => bdrv_do_drained_end(at, blk, false),
        false => bdrv_co_yield_to_drain(at, blk),
    }
}

fn bdrv_drained_end_no_poll<P>(at: &mut P, blk: &Backend) -> u64 {
    bdrv_do_drained_end(at, blk, true)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, io0) = (null(bql, "node"), iothread(bql, "io0"));
        let (blk, main) = (disk(bql, "disk", &node), bql.main_loop());
        blk.set_iothread(bql, Some(&io0))?;
        let (report, quiesced) = mpsc::channel();
        std::thread::spawn(move || {
            let mut third = EventLoop::new("third").expect("a loop");
            let length = bdrv_drained_end_no_poll(&mut third, &blk);
            report.send(length).expect("a receiver");
            main.kick();
        });
        bql.poll_until(|_| quiesced.try_recv() == Ok(SIZE));
        Ok(())
    });
}
