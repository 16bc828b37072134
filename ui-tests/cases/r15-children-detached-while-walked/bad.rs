//! Rule R15: The children of a node are not detached while they are walked.
//! QEMU: V082, block_job_remove_all_bdrv() -> bdrv_root_unref_child(): a nested traversal may
//! see a freed edge.
//! Shape: order.
//! Why: The walk borrows the section, the detaching takes it exclusively.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let mut section = top.drain(bql);
        for edge in top.view(&section).children() {
            section.detach_child(edge.name())?;
            //~^ E0502 "cannot borrow `section` as mutable because it is also borrowed as immutable"
        }
        assert_eq!(top.view(&section).children().count(), 0);
        Ok(())
    });
}
