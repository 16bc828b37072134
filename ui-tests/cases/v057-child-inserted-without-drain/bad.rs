//! Rule R5: That it runs in the main thread does not let a callback insert a child.
//! QEMU: V057, bdrv_replace_child_noperm() -> BdrvChildClass.attach() -> bdrv_child_cb_attach().
//! Shape: trait-object.
//! Why: Requests walk the list. Its writer takes a `Drained`; the BQL alone stops no request.

use block_gs::{BqlGuard, Drained, GraphError, Node, Role};
use ui_tests::{in_main_loop, null, overlay};

trait BdrvChildClass {
    fn attach(&self, bql: &mut BqlGuard, child: &Node) -> Result<(), GraphError>;
}

struct ChildOfBds;

impl BdrvChildClass for ChildOfBds {
    fn attach(&self, bql: &mut BqlGuard, child: &Node) -> Result<(), GraphError> {
        bdrv_child_cb_attach(bql, child)
        //~^ E0308 "expected `&mut Drained<'_>`, found `&mut BqlGuard`"
    }
}

/// QLIST_INSERT_HEAD() on `children`.
fn bdrv_child_cb_attach(section: &mut Drained<'_>, child: &Node) -> Result<(), GraphError> {
    section.attach_child("data", child, Role::DATA)
}

fn bdrv_replace_child_noperm(
    bql: &mut BqlGuard,
    parent: &Node,
    class: &dyn BdrvChildClass,
    child: &Node,
) -> Result<(), GraphError> {
    assert!(parent.view(bql).child("data").is_none());
    class.attach(bql, child)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (base, data) = (null(bql, "base"), null(bql, "data-file"));
        let top = overlay(bql, "top", &base);
        bdrv_replace_child_noperm(bql, &top, &ChildOfBds, &data)?;
        assert_eq!(top.view(bql).children().count(), 2);
        Ok(())
    });
}
