//! Twin of bad.rs: the handle has the name too, and lives on its own.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        node.set_monitor_owned(bql);
        let name = node.name();
        node.clone().delete(bql)?;
        assert_eq!(name, "node");
        Ok(())
    });
}
