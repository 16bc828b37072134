//! Twin of bad.rs: the proof is demanded outside because it is demanded inside.

use block_gs::{Backend, BqlGuard, GraphError, Perm};
use ui_tests::{disk, in_main_loop, null};

fn bdrv_child_try_set_perm(
    bql: &mut BqlGuard,
    blk: &Backend,
    perm: Perm,
) -> Result<(), GraphError> {
    blk.set_perm(bql, perm, Perm::all())
}

fn blk_set_perm(bql: &mut BqlGuard, blk: &Backend, perm: Perm) -> Result<(), GraphError> {
    bdrv_child_try_set_perm(bql, blk, perm)
}

fn blk_get_perm(bql: &BqlGuard, blk: &Backend) -> Perm {
    blk.perms(bql).perm
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let export = disk(bql, "export", &node);
        blk_set_perm(bql, &export, Perm::WRITE | Perm::RESIZE)?;
        assert!(blk_get_perm(bql, &export).contains(Perm::RESIZE));
        Ok(())
    });
}
