//! Rule R7: A parent that is told of a drain does not begin another one meanwhile.
//! QEMU: V011, bdrv_apply_subtree_drain() -> bdrv_do_drained_begin() -> bdrv_do_drained_begin() ->
//! bdrv_co_yield_to_drain() -> bdrv_co_drain_bh_cb() -> bdrv_drain_all_begin().
//! Shape: trait-object.
//! Why: The callback is called while edges are walked, and is lent a `&BqlGuard`, not a `&mut` one.

use block_gs::{BqlGuard, EdgeParent, MainLoop, Parent, Perm, drain_all, sections_opened};
use std::sync::{Arc, atomic::AtomicBool, atomic::Ordering::Relaxed};
use ui_tests::{in_main_loop, null};

struct ChildOfBds {
    applied: AtomicBool,
    main: MainLoop,
}

fn bdrv_drain_all_begin(bql: &mut BqlGuard) {
    drain_all(bql).end();
}

fn bdrv_co_drain_bh_cb(bql: &mut BqlGuard) {
    bdrv_drain_all_begin(bql);
}

fn bdrv_co_yield_to_drain(bql: &mut BqlGuard) {
    bdrv_co_drain_bh_cb(bql);
}

fn bdrv_do_drained_begin(bql: &mut BqlGuard, recursive: bool) {
    match recursive {
        true => bdrv_do_drained_begin(bql, false),
        false => bdrv_co_yield_to_drain(bql),
    }
}

fn bdrv_apply_subtree_drain(bql: &mut BqlGuard) {
    bdrv_do_drained_begin(bql, true);
}

impl EdgeParent for ChildOfBds {
    fn describe(&self) -> String {
        "child".to_owned()
    }

    fn drained_begin(&self, bql: &BqlGuard) {
        if !self.applied.swap(true, Relaxed) {
            bdrv_apply_subtree_drain(bql);
            //~^ E0308 "expected mutable reference `&mut BqlGuard`"
            self.main.kick();
        }
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, applied) = (null(bql, "node"), AtomicBool::new(false));
        let (before, main) = (sections_opened(bql), bql.main_loop());
        let parent = Parent::new(bql, Arc::new(ChildOfBds { applied, main }));
        parent.attach(bql, "child", &node, Perm::empty(), Perm::all())?;
        node.drain(bql).end();
        bql.poll_until(|bql| sections_opened(bql) == before + 2);
        Ok(())
    });
}
