//! Twin of bad.rs: the walk is over handles.

use block_gs::{BqlGuard, Node, nodes};
use ui_tests::{in_main_loop, null, overlay};

fn cover_all<I: Iterator<Item = Node>>(bql: &mut BqlGuard, walk: I) -> usize {
    walk.map(|base| overlay(bql, &format!("{}-top", base.name()), &base))
        .count()
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let _base = null(bql, "base");
        let walk: Vec<Node> = nodes(bql).map(|view| view.node(bql)).collect();
        let covered = cover_all(bql, walk.into_iter());
        assert_eq!(covered, 1);
        Ok(())
    });
}
