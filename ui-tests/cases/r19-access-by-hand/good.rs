//! Twin of bad.rs: the guard is the proof.

use block_gs::BqlGuard;
use ui_tests::{disk, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        disk.set_write_cache(bql, true);
        assert!(disk.root().has_write_cache());
        Ok(())
    });
}
