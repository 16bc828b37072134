//! Twin of bad.rs: a section over the parent is opened inside the other.

use block_gs::{BqlGuard, Drained, GraphError, Node, drain_many};
use ui_tests::{in_main_loop, null, overlay};

/// Takes the edge off the list of the old node, and puts it on that of the new.
fn bdrv_replace_child_noperm(parent: &mut Drained<'_>, new: &Node) -> Result<(), GraphError> {
    parent.replace_child("backing", new)
}

fn bdrv_replace_child_bs(bql: &mut BqlGuard, parent: &Node, new: &Node) -> Result<(), GraphError> {
    let mut below = drain_many(bql, [new.clone()]);
    assert!(parent.view(&below).child("backing").is_some());
    bdrv_replace_child_noperm(&mut below.also(parent), new)?;
    below.end();
    Ok(())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (old, new) = (null(bql, "old"), null(bql, "new"));
        let top = overlay(bql, "top", &old);
        bdrv_replace_child_bs(bql, &top, &new)?;
        assert_eq!(old.view(bql).parents().count(), 0);
        assert_eq!(new.view(bql).parents().count(), 1);
        Ok(())
    });
}
