//! Rule R12: A function over whatever lends the guard changes no permissions for a request.
//! QEMU: V063-V065, bdrv_invalidate_cache() -> bdrv_co_invalidate_cache() in the iothread.
//! Shape: generic.
//! Why: Only the guard and what holds it lend it; a count of a request does not.

use block_gs::{Backend, BqlGuard, GraphError, Perm};
use std::borrow::BorrowMut;
use ui_tests::{disk, in_main_loop, null};

fn activate(mut proof: impl BorrowMut<BqlGuard>, disk: &Backend) -> Result<(), GraphError> {
    disk.set_perm(proof.borrow_mut(), Perm::WRITE, Perm::all())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let in_flight = disk.root().try_begin().expect("not quiesced");
        activate(in_flight, &disk)?;
        //~^ E0277 "BorrowMut<BqlGuard>` is not satisfied"
        assert_eq!(disk.perms(bql).perm, Perm::WRITE);
        Ok(())
    });
}
