//! Rule R5: The BQL is no right to write edges.
//! QEMU: V057, V058, assert_bdrv_graph_writable() asks for the BQL and for nothing else.
//! Shape: argument.
//! Why: The function takes a `&mut Drained`, which is the BQL and a quiesced node.

use block_gs::{BqlGuard, Drained, GraphError, Node};
use ui_tests::{in_main_loop, null, overlay};

fn bdrv_child_cb_attach(parent: &mut Drained<'_>, child: &Node) -> Result<(), GraphError> {
    parent.set_backing(Some(child))
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let (top, other) = (overlay(bql, "top", &base), null(bql, "other"));
        bdrv_child_cb_attach(bql, &other)?;
        //~^ E0308 "expected `&mut Drained<'_>`, found `&mut BqlGuard`"
        let edge = top.view(bql).child("backing").expect("a backing image");
        assert_eq!(edge.child().name(), "other");
        Ok(())
    });
}
