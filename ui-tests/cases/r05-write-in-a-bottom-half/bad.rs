//! Rule R5: A bottom half of the main loop has the BQL, and no right to write edges.
//! QEMU: V057, assert_bdrv_graph_writable() asks for the BQL and for nothing else.
//! Shape: closure.
//! Why: The closure gets `&mut BqlGuard`; the write takes a `&mut Drained`.

use block_gs::{BqlGuard, Drained, GraphError, Node};
use ui_tests::{in_main_loop, null, overlay};

fn unplug(parent: &mut Drained<'_>) -> Result<(), GraphError> {
    parent.set_backing(None)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (base, main) = (null(bql, "base"), bql.main_loop());
        let top: Node = overlay(bql, "top", &base);
        let unplugged = top.clone();
        main.schedule(move |bql| {
            unplug(bql).expect("an edge");
            //~^ E0308 "expected `&mut Drained<'_>`, found `&mut BqlGuard`"
            assert_eq!(unplugged.view(bql).children().count(), 0);
        });
        bql.poll_until(|bql| top.view(bql).children().count() == 0);
        Ok(())
    });
}
