//! Twin of bad.rs: it is told how the request ended.

use block_gs::BqlGuard;
use block_io::accounting::Kind;
use ui_tests::{disk, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let root = disk.root();
        let counted = root.statistics().start(Kind::Flush, 0);
        let flushed = bql.block_on(root.flush());
        counted.end_with(&flushed);
        flushed?;
        assert_eq!(root.statistics().totals(Kind::Flush).operations, 1);
        Ok(())
    });
}
