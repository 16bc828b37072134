//! Twin of bad.rs: the function that gets it ends it.

use block_gs::{BqlGuard, Drained};
use ui_tests::{in_main_loop, null};

fn mirror_exit_common(section: Drained<'_>) {
    section.end();
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let target = null(bql, "target");
        let section = target.drain(bql);
        mirror_exit_common(section);
        assert_eq!(target.view(bql).quiesce_count(), 0);
        Ok(())
    });
}
