//! Rule R16: A drained section that nobody keeps is no section.
//! QEMU: None recorded. bdrv_drained_begin() has no result that could be ignored.
//! Shape: unused.
//! Why: `Drained` is `must_use`; a workspace that denies this lint does not compile it.

#![deny(unused_must_use)]
use block_gs::BqlGuard;
use ui_tests::{disk, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        node.drain(bql);
        //~^ "the drained section ends when this is dropped"
        assert!(disk(bql, "disk", &node).root().try_begin().is_some());
        Ok(())
    });
}
