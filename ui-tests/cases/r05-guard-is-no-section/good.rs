//! Twin of bad.rs: the caller opens the section.

use block_gs::{BqlGuard, Drained, GraphError, Node};
use ui_tests::{in_main_loop, null, overlay};

fn bdrv_child_cb_attach(parent: &mut Drained<'_>, child: &Node) -> Result<(), GraphError> {
    parent.set_backing(Some(child))
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let (top, other) = (overlay(bql, "top", &base), null(bql, "other"));
        bdrv_child_cb_attach(&mut top.drain(bql), &other)?;
        let edge = top.view(bql).child("backing").expect("a backing image");
        assert_eq!(edge.child().name(), "other");
        Ok(())
    });
}
