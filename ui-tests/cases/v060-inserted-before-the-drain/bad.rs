//! Rule R5: A child is not inserted first and its parent drained afterwards.
//! QEMU: V060, bdrv_child_cb_attach() inserts, and then calls bdrv_apply_subtree_drain().
//! Shape: order.
//! Why: Inserting is a method of the section, which is not there before it is begun.

use block_gs::{BqlGuard, Drained, GraphError, Node, Role};
use ui_tests::{in_main_loop, null, overlay};

fn bdrv_apply_subtree_drain<'b>(bql: &'b mut BqlGuard, parent: &Node) -> Drained<'b> {
    parent.drain(bql)
}

fn bdrv_child_cb_attach(bql: &mut BqlGuard, parent: &Node, child: &Node) -> Result<(), GraphError> {
    let mut section: Drained<'_>;
    section.attach_child("data", child, Role::DATA)?;
    //~^ E0381 "used binding `section` is possibly-uninitialized"
    section = bdrv_apply_subtree_drain(bql, parent);
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
