//! Twin of bad.rs: the helper calls it once, and says so.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null};

fn retry(attempt: impl FnOnce() -> bool) -> bool {
    attempt()
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let section = node.drain(bql);
        let ended = retry(|| {
            section.end();
            true
        });
        assert!(ended);
        Ok(())
    });
}
