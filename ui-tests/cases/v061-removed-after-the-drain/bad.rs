//! Rule R6: The drain is not lifted while the child that is being removed can still be seen.
//! QEMU: V061, bdrv_child_cb_detach() calls bdrv_unapply_subtree_drain(), and then removes.
//! Shape: order.
//! Why: Lifting it takes the section by value, and removing is a method of it.

use block_gs::{BqlGuard, Drained, GraphError, Node};
use ui_tests::{in_main_loop, null, overlay};

fn bdrv_unapply_subtree_drain(section: Drained<'_>) -> Node {
    let parent = section.node().clone();
    section.end();
    parent
}

fn bdrv_child_cb_detach(mut section: Drained<'_>) -> Result<Node, GraphError> {
    let parent = bdrv_unapply_subtree_drain(section);
    section.detach_child("backing")?;
    //~^ E0382 "borrow of moved value: `section`"
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
