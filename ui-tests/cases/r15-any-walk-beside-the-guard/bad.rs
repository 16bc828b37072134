//! Rule R15: A function over any walk that also changes the graph takes no walk over the
//! graph.
//! QEMU: V082, block_job_remove_all_bdrv() -> bdrv_root_unref_child(): a nested traversal may
//! see a freed edge.
//! Shape: generic.
//! Why: Being generic does not hide what the walk borrows.

use block_gs::{BqlGuard, Node, nodes};
use ui_tests::{in_main_loop, null, overlay};

fn cover_all<I: Iterator<Item = Node>>(bql: &mut BqlGuard, walk: I) -> usize {
    walk.map(|base| overlay(bql, &format!("{}-top", base.name()), &base))
        .count()
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let _base = null(bql, "base");
        let walk = nodes(bql).map(|view| view.node(bql));
        let covered = cover_all(bql, walk);
        //~^ E0502 "cannot borrow `*bql` as mutable because it is also borrowed as immutable"
        assert_eq!(covered, 1);
        Ok(())
    });
}
