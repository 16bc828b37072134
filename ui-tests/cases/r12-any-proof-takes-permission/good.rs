//! Twin of bad.rs: the guard itself lends the guard.

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
        drop(in_flight);
        activate(&mut *bql, &disk)?;
        assert_eq!(disk.perms(bql).perm, Perm::WRITE);
        Ok(())
    });
}
