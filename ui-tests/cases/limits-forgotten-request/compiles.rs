//! Limit: A forgotten request is counted for ever, and a drain above it never completes.
//! QEMU: a blk_inc_in_flight() without its blk_dec_in_flight().
//! Why: `mem::forget` is safe. The drain would rather wait than be wrong.

use block_gs::BqlGuard;
use ui_tests::{disk, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        std::mem::forget(disk.root().try_begin());
        assert_eq!(disk.root().in_flight(), 1);
        std::process::exit(0);
    });
}
