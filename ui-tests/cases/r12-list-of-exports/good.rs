//! Twin of bad.rs: the holder of the proof walks the list.

use block_gs::{Backend, BqlGuard, GraphError, Perm};
use std::sync::Mutex;
use ui_tests::{disk, in_main_loop, null};

static EXPORTS: Mutex<Vec<Backend>> = Mutex::new(Vec::new());

fn blk_exp_close_all(bql: &mut BqlGuard) -> Result<(), GraphError> {
    let mut exports = EXPORTS.lock().expect("no panic");
    exports
        .drain(..)
        .try_for_each(|export| export.set_perm(bql, Perm::empty(), Perm::all()))
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let export = disk(bql, "export", &node);
        EXPORTS.lock().expect("no panic").push(export.clone());
        blk_exp_close_all(bql)?;
        assert_eq!(export.perms(bql).perm, Perm::empty());
        Ok(())
    });
}
