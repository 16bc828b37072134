//! Twin of bad.rs: the node is drained.

use block_gs::{BqlGuard, Drained, GraphError};
use ui_tests::{in_main_loop, null, overlay};

fn unplug<'a>(parent: impl Into<Drained<'a>>) -> Result<(), GraphError> {
    parent.into().set_backing(None)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        unplug(top.drain(bql))?;
        assert_eq!(top.view(bql).children().count(), 0);
        Ok(())
    });
}
