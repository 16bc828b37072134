//! Twin of bad.rs: every level asks for the proof, and a bottom half at home has it.

use block_gs::{Backend, BqlGuard, MainOrHome};
use std::sync::mpsc;
use ui_tests::{SIZE, disk, in_main_loop, iothread, null};

fn bdrv_do_drained_begin_quiesce<P: MainOrHome>(at: &mut P, blk: &Backend) -> u64 {
    blk.length_blocking(at).expect("a medium")
}

fn bdrv_do_drained_begin<P: MainOrHome>(at: &mut P, blk: &Backend, recursive: bool) -> u64 {
    match recursive {
        true => bdrv_do_drained_begin(at, blk, false),
        false => bdrv_do_drained_begin_quiesce(at, blk),
    }
}

fn bdrv_drain_all_begin<P: MainOrHome>(at: &mut P, blk: &Backend) -> u64 {
    bdrv_do_drained_begin(at, blk, true)
}

fn bdrv_co_drain_bh_cb<P: MainOrHome>(at: &mut P, blk: &Backend) -> u64 {
    bdrv_drain_all_begin(at, blk)
}

fn bdrv_co_yield_to_drain<P: MainOrHome>(at: &mut P, blk: &Backend) -> u64 {
    bdrv_co_drain_bh_cb(at, blk)
}

fn bdrv_do_drained_end<P: MainOrHome>(at: &mut P, blk: &Backend, recursive: bool) -> u64 {
    match recursive {
        true => bdrv_do_drained_end(at, blk, false),
        false => bdrv_co_yield_to_drain(at, blk),
    }
}

fn bdrv_drained_end_no_poll<P: MainOrHome>(at: &mut P, blk: &Backend) -> u64 {
    bdrv_do_drained_end(at, blk, true)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, io0) = (null(bql, "node"), iothread(bql, "io0"));
        let (blk, main) = (disk(bql, "disk", &node), bql.main_loop());
        blk.set_iothread(bql, Some(&io0))?;
        let (report, quiesced) = mpsc::channel();
        io0.context().schedule(move |home| {
            let length = bdrv_drained_end_no_poll(home, &blk);
            report.send(length).expect("a receiver");
            main.kick();
        });
        bql.poll_until(|_| quiesced.try_recv() == Ok(SIZE));
        Ok(())
    });
}
