//! Twin of bad.rs: it is called once.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let target = null(bql, "target");
        let section = target.drain(bql);
        let clean_up = || section.end();
        clean_up();
        assert_eq!(target.view(bql).quiesce_count(), 0);
        Ok(())
    });
}
