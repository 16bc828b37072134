//! Twin of bad.rs: the edge goes first.

use block_gs::{BqlGuard, GraphError, Node};
use ui_tests::{in_main_loop, null, overlay};

fn bdrv_child_cb_detach(bql: &mut BqlGuard, parent: &Node) -> Result<(), GraphError> {
    let mut section = parent.drain(bql);
    section.set_backing(None)?;
    section.end();
    Ok(())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        bdrv_child_cb_detach(bql, &top)?;
        assert!(top.view(bql).child("backing").is_none());
        Ok(())
    });
}
