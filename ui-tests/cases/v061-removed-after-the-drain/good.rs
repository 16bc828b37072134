//! Twin of bad.rs: the child goes first.

use block_gs::{BqlGuard, Drained, GraphError, Node};
use ui_tests::{in_main_loop, null, overlay};

fn bdrv_unapply_subtree_drain(section: Drained<'_>) -> Node {
    let parent = section.node().clone();
    section.end();
    parent
}

fn bdrv_child_cb_detach(mut section: Drained<'_>) -> Result<Node, GraphError> {
    section.detach_child("backing")?;
    let parent = bdrv_unapply_subtree_drain(section);
    Ok(parent)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let parent = bdrv_child_cb_detach(top.drain(bql))?;
        assert_eq!(parent.view(bql).children().count(), 0);
        Ok(())
    });
}
