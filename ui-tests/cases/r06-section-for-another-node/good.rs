//! Twin of bad.rs: a section over the other node is opened inside the first.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (old, new) = (null(bql, "old"), null(bql, "new"));
        let (drained, parent) = (overlay(bql, "drained", &old), overlay(bql, "parent", &old));
        let mut section = drained.drain(bql);
        section.also(&parent).replace_child("backing", &new)?;
        let parent_of_new = new.view(&section).parents().next().expect("one");
        assert_eq!(
            parent_of_new.parent_node().expect("a node").name(),
            "parent"
        );
        Ok(())
    });
}
