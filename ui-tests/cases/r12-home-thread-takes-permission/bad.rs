//! Rule R12: A bottom half of a home thread does not change permissions.
//! QEMU: V052-V054, fuse_do_truncate() -> blk_set_perm() -> bdrv_child_try_set_perm().
//! Shape: closure.
//! Why: Permissions are the whole graph's; `set_perm` takes the proof of the main thread.

use block_gs::{BqlGuard, Perm};
use ui_tests::{disk, in_main_loop, iothread, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let (export, main) = (disk(bql, "export", &node), bql.main_loop());
        let (disk, perm) = (export.clone(), Perm::RESIZE);
        iothread(bql, "io0").context().schedule(move |home| {
            disk.set_perm(home, perm, Perm::all()).expect("granted");
            //~^ E0308 "expected `&mut BqlGuard`, found `&mut HomeThread<'_>`"
            main.kick();
        });
        bql.poll_until(|bql| export.perms(bql).perm == perm);
        Ok(())
    });
}
