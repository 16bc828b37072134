//! Rule R18: A refusal of the permission system is not ignored.
//! QEMU: V071, blockdev_amend_clean() -> bdrv_child_refresh_perms() with the error dropped.
//! Shape: unused.
//! Why: A `Result` is `must_use`; a workspace that denies this lint does not compile it.

#![deny(unused_must_use)]
use block_gs::{BqlGuard, Perm};
use ui_tests::{disk, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let _reader = disk(bql, "reader", &node);
        let writer = disk(bql, "writer", &node);
        writer.set_perm(bql, Perm::WRITE, Perm::empty());
        //~^ "unused `Result` that must be used"
        Ok(())
    });
}
