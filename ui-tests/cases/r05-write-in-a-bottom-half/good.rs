//! Twin of bad.rs: the bottom half opens a section.

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
            unplug(&mut unplugged.drain(bql)).expect("an edge");
        });
        bql.poll_until(|bql| top.view(bql).children().count() == 0);
        Ok(())
    });
}
