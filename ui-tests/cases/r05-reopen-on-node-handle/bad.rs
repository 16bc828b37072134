//! Rule R5: A handle of a node is no right to reopen it.
//! QEMU: None recorded. bdrv_reopen_multiple() assumes that bdrv_reopen_queue() has drained each node.
//! Shape: receiver.
//! Why: What a reopen replaces is read by requests without a lock; so it is a method of `Drained`.

use block_gs::{BqlGuard, NodeOptions, ReopenOptions};
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let disk = null(bql, "disk");
        let options = NodeOptions {
            read_only: true,
            ..NodeOptions::default()
        };
        disk.reopen(ReopenOptions::new(options))?;
        //~^ E0277 "writing the graph takes a `Drained` section, and `Node` is none"
        assert!(!disk.view(bql).is_writable());
        Ok(())
    });
}
