//! Rule R6: A section of one node does not write the edges of another.
//! QEMU: None recorded. bdrv_graph_wrlock() is one lock for all nodes, and says nothing about
//! the one written.
//! Shape: argument.
//! Why: The write operations have no parameter for the parent: it is inside the proof.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (old, new) = (null(bql, "old"), null(bql, "new"));
        let (drained, parent) = (overlay(bql, "drained", &old), overlay(bql, "parent", &old));
        let mut section = drained.drain(bql);
        section.replace_child(&parent, "backing", &new)?;
        //~^ E0061 "this method takes 2 arguments but 3 arguments were supplied"
        let parent_of_new = new.view(&section).parents().next().expect("one");
        assert_eq!(
            parent_of_new.parent_node().expect("a node").name(),
            "parent"
        );
        Ok(())
    });
}
