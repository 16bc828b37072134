//! Rule R18: A refusal is not ignored because a closure gets it.
//! QEMU: V071, blockdev_amend_clean() -> bdrv_child_refresh_perms() with the error dropped.
//! Shape: closure.
//! Why: A `Result` is `must_use` in a closure too.

#![deny(unused_must_use)]

use block_gs::{Backend, BqlGuard, Perm};
use ui_tests::{disk, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disks: [Backend; 2] = [disk(bql, "one", &node), disk(bql, "two", &node)];
        disks.iter().for_each(|disk| {
            disk.set_perm(bql, Perm::empty(), Perm::all());
            //~^ "unused `Result` that must be used"
        });
        Ok(())
    });
}
