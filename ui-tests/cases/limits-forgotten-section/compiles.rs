//! Limit: A forgotten section stays open: the types prove "not usable after", not "ended".
//! QEMU: a bdrv_drained_begin() without its bdrv_drained_end().
//! Why: `mem::forget` is safe. The node stays quiesced, and nothing breaks.

use block_gs::BqlGuard;
use ui_tests::{disk, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        std::mem::forget(node.drain(bql));
        assert_eq!(node.view(bql).quiesce_count(), 1);
        assert!(disk.root().try_begin().is_none());
        node.drain(bql).end();
        Ok(())
    });
}
