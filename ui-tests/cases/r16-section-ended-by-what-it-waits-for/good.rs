//! Twin of bad.rs: it ends when the waiting is over.

use block_gs::BqlGuard;
use block_io::aio::yield_now;
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let mut section = node.drain(bql);
        section.block_on(yield_now());
        section.end();
        assert_eq!(node.view(bql).quiesce_count(), 0);
        Ok(())
    });
}
