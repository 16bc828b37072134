//! Rule R12: A function whose callee demands the proof cannot do without by making one.
//! QEMU: V054, blk_set_perm() -> bdrv_child_try_set_perm(); blk_get_perm().
//! Shape: literal.
//! Why: Leaving out an assertion is a line in C. `BqlGuard` has a private field, no constructor.

use block_gs::{Backend, BqlGuard, GraphError, Perm};
use ui_tests::{disk, in_main_loop, null};

fn bdrv_child_try_set_perm(
    bql: &mut BqlGuard,
    blk: &Backend,
    perm: Perm,
) -> Result<(), GraphError> {
    blk.set_perm(bql, perm, Perm::all())
}

fn blk_set_perm(blk: &Backend, perm: Perm) -> Result<(), GraphError> {
    // GLOBAL_STATE_CODE() would fail: FUSE exports call this in an iothread.
    let mut unasserted = BqlGuard {};
    //~^ "cannot construct `BqlGuard` with struct literal syntax due to private fields"
    bdrv_child_try_set_perm(&mut unasserted, blk, perm)
}

fn blk_get_perm(bql: &BqlGuard, blk: &Backend) -> Perm {
    blk.perms(bql).perm
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let export = disk(bql, "export", &node);
        blk_set_perm(&export, Perm::WRITE | Perm::RESIZE)?;
        assert!(blk_get_perm(bql, &export).contains(Perm::RESIZE));
        Ok(())
    });
}
