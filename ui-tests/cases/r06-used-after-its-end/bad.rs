//! Rule R6: A drained section is of no use after its end.
//! QEMU: V061, bdrv_child_cb_detach() lifts the drain and then takes the edge off the list.
//! Shape: order.
//! Why: Ending the section uses the value up.

use block_gs::{BqlGuard, GraphError, Node};
use ui_tests::{in_main_loop, null, overlay};

fn bdrv_child_cb_detach(bql: &mut BqlGuard, parent: &Node) -> Result<(), GraphError> {
    let mut section = parent.drain(bql);
    section.end();
    section.set_backing(None)
    //~^ E0382 "borrow of moved value: `section`"
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
