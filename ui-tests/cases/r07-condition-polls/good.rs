//! Twin of bad.rs: the condition only looks.

use block_gs::BqlGuard;
use ui_tests::{disk, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        disk.flush_blocking(bql)?;
        bql.poll_until(|_| disk.root().in_flight() == 0);
        assert_eq!(node.view(bql).quiesce_count(), 0);
        Ok(())
    });
}
