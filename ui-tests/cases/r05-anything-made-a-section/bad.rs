//! Rule R5: A function over whatever becomes a section takes nothing but sections.
//! QEMU: V059, bdrv_replace_child_noperm(), whose callers miss the drains.
//! Shape: generic.
//! Why: Nothing converts into `Drained`: one has to drain.

use block_gs::{BqlGuard, Drained, GraphError};
use ui_tests::{in_main_loop, null, overlay};

fn unplug<'a>(parent: impl Into<Drained<'a>>) -> Result<(), GraphError> {
    parent.into().set_backing(None)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        unplug(&mut *bql)?;
        //~^ E0277 "the trait bound `Drained<'_>: From<&mut BqlGuard>` is not satisfied"
        assert_eq!(top.view(bql).children().count(), 0);
        Ok(())
    });
}
