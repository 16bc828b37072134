//! Twin of bad.rs: it is ended once, and the count is right.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let target = null(bql, "target");
        let section = target.drain(bql);
        assert_eq!(target.view(&section).quiesce_count(), 1);
        section.end();
        assert_eq!(target.view(bql).quiesce_count(), 0);
        Ok(())
    });
}
