//! Rule R6: While a section is being lifted no drain of everything begins behind its back.
//! QEMU: V012, bdrv_unapply_subtree_drain() -> bdrv_do_drained_end() -> bdrv_do_drained_end() ->
//! bdrv_co_yield_to_drain() -> bdrv_co_drain_bh_cb() -> bdrv_drain_all_begin().
//! Shape: order.
//! Why: A `Drained` lends its guard as `&BqlGuard`; beginning another section takes a method of it.

use block_gs::{BqlGuard, Drained, drain_all, sections_opened};
use ui_tests::{in_main_loop, null, raw};

fn bdrv_drain_all_begin(section: &mut Drained<'_>) {
    drain_all(section).end();
    //~^ E0596 "cannot borrow data in dereference of `Drained<'_>` as mutable"
}

fn bdrv_co_drain_bh_cb(section: &mut Drained<'_>) {
    bdrv_drain_all_begin(section);
}

fn bdrv_co_yield_to_drain(section: &mut Drained<'_>) {
    bdrv_co_drain_bh_cb(section);
}

fn bdrv_do_drained_end(section: &mut Drained<'_>) {
    let edge = section.node().view(section).child("file");
    match edge.map(|edge| edge.child().node(section)) {
        Some(child) => bdrv_do_drained_end(&mut section.also(&child)),
        None => bdrv_co_yield_to_drain(section),
    }
}

fn bdrv_unapply_subtree_drain(mut section: Drained<'_>) {
    bdrv_do_drained_end(&mut section);
    section.end();
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let file = null(bql, "file");
        let format = raw(bql, "format", &file);
        let before = sections_opened(bql);
        bdrv_unapply_subtree_drain(format.drain(bql));
        assert_eq!(sections_opened(bql), before + 4);
        assert_eq!(file.view(bql).quiesce_count(), 0);
        Ok(())
    });
}
