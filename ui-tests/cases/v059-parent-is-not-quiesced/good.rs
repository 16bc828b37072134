//! Twin of bad.rs: a section over the parent is opened inside the others.

use block_gs::{BqlGuard, Drained, GraphError, Node, drain_many};
use ui_tests::{in_main_loop, null, overlay};

/// Takes the edge off the list of the old node, and puts it on that of the new.
fn bdrv_replace_child_noperm(parent: &mut Drained<'_>, new: &Node) -> Result<(), GraphError> {
    parent.replace_child("backing", new)
}

fn bdrv_replace_child_bs(
    bql: &mut BqlGuard,
    parent: &Node,
    old: &Node,
    new: &Node,
) -> Result<(), GraphError> {
    let mut both = drain_many(bql, [old.clone(), new.clone()]);
    assert!(parent.view(&both).child("backing").is_some());
    bdrv_replace_child_noperm(&mut both.also(parent), new)?;
    both.end();
    Ok(())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (old, new) = (null(bql, "old"), null(bql, "new"));
        let top = overlay(bql, "top", &old);
        bdrv_replace_child_bs(bql, &top, &old, &new)?;
        assert_eq!(old.view(bql).parents().count(), 0);
        assert_eq!(new.view(bql).parents().count(), 1);
        Ok(())
    });
}
