//! Twin of bad.rs: the section comes first.

use block_gs::{BqlGuard, Drained, GraphError, Node, Role};
use ui_tests::{in_main_loop, null, overlay};

fn bdrv_apply_subtree_drain<'b>(bql: &'b mut BqlGuard, parent: &Node) -> Drained<'b> {
    parent.drain(bql)
}

fn bdrv_child_cb_attach(bql: &mut BqlGuard, parent: &Node, child: &Node) -> Result<(), GraphError> {
    let mut section: Drained<'_>;
    section = bdrv_apply_subtree_drain(bql, parent);
    section.attach_child("data", child, Role::DATA)?;
    section.io(async |request| request.flush().await)?;
    section.end();
    Ok(())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (base, data) = (null(bql, "base"), null(bql, "data-file"));
        let top = overlay(bql, "top", &base);
        bdrv_child_cb_attach(bql, &top, &data)?;
        assert!(top.view(bql).child("data").is_some());
        Ok(())
    });
}
