//! Twin of bad.rs: what is noted is a handle.

use block_gs::{BlockLayer, BqlGuard, MainLoop, nodes};

fn note(list: &mut Vec<MainLoop>, bql: &BqlGuard) {
    list.push(bql.main_loop());
}

fn main() {
    let layer = BlockLayer::new().expect("a block layer");
    let mut noted = Vec::new();
    layer.enter(|bql| {
        note(&mut noted, bql);
        assert_eq!(nodes(bql).count(), 0);
    });
    assert_eq!(noted.len(), 1);
}
