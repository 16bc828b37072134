//! Twin of bad.rs: the node is drained.

use block_gs::{BqlGuard, NodeOptions, ReopenOptions};
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let disk = null(bql, "disk");
        let options = NodeOptions {
            read_only: true,
            ..NodeOptions::default()
        };
        disk.drain(bql).reopen(ReopenOptions::new(options))?;
        assert!(!disk.view(bql).is_writable());
        Ok(())
    });
}
