//! Rule R6: A closure that writes in a section does not run after its end.
//! QEMU: V061, bdrv_child_cb_detach() lifts the drain and then takes the edge off the list.
//! Shape: closure.
//! Why: The closure borrows the section for as long as it may be called.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let mut section = top.drain(bql);
        let mut detach = || section.set_backing(None);
        section.end();
        //~^ E0505 "cannot move out of `section` because it is borrowed"
        detach()?;
        assert_eq!(top.view(bql).children().count(), 0);
        Ok(())
    });
}
