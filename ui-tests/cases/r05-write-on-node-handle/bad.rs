//! Rule R5: A handle of a node is no right to write the edges below it.
//! QEMU: V059, V131, bdrv_replace_child_noperm() checks only half of what it needs.
//! Shape: receiver.
//! Why: Writes are methods of `Drained`, so they take the node out of the proof.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null, raw};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (old, new) = (null(bql, "old"), null(bql, "new"));
        let format = raw(bql, "format", &old);
        format.replace_child("file", &new)?;
        //~^ E0277 "writing the graph takes a `Drained` section, and `Node` is none"
        let edge = format.view(bql).child("file").expect("a file");
        assert_eq!(edge.child().name(), "new");
        Ok(())
    });
}
