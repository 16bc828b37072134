//! Rule R12: The permissions of exports in a static list are not changed by whoever finds
//! them.
//! QEMU: None recorded. The list of exports is a static.
//! Shape: static.
//! Why: A handle may be anywhere; `set_perm` takes the proof.

use block_gs::{Backend, BqlGuard, GraphError, Perm};
use std::sync::Mutex;
use ui_tests::{disk, in_main_loop, null};

static EXPORTS: Mutex<Vec<Backend>> = Mutex::new(Vec::new());

fn blk_exp_close_all() -> Result<(), GraphError> {
    let mut exports = EXPORTS.lock().expect("no panic");
    exports
        .drain(..)
        .try_for_each(|export| export.set_perm(Perm::empty(), Perm::all()))
    //~^ E0061 "argument #1 of type `&mut BqlGuard` is missing"
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let export = disk(bql, "export", &node);
        EXPORTS.lock().expect("no panic").push(export.clone());
        blk_exp_close_all()?;
        assert_eq!(export.perms(bql).perm, Perm::empty());
        Ok(())
    });
}
