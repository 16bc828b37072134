//! Twin of bad.rs: a second section is opened inside.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let mut section = node.drain(bql);
        section.also(&node).end();
        section.end();
        assert_eq!(node.view(bql).quiesce_count(), 0);
        Ok(())
    });
}
