//! Twin of bad.rs: the view is taken after the section has opened.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, other) = (null(bql, "node"), null(bql, "other"));
        let section = other.drain(bql);
        let view = node.view(&section);
        assert_eq!(view.quiesce_count(), 0);
        assert_eq!(section.node(), &other);
        Ok(())
    });
}
