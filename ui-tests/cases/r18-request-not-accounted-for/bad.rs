//! Rule R18: A request that a device begins to account for is not forgotten.
//! QEMU: None recorded. block_acct_start() without block_acct_done() counts nothing.
//! Shape: unused.
//! Why: What `start` returns is `must_use`: it counts only when it is told how the request ended.

#![deny(unused_must_use)]

use block_gs::BqlGuard;
use block_io::accounting::Kind;
use ui_tests::{disk, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let root = disk.root();
        root.statistics().start(Kind::Flush, 0);
        //~^ "unused `Accounted` that must be used"
        let flushed = bql.block_on(root.flush());
        flushed?;
        assert_eq!(root.statistics().totals(Kind::Flush).operations, 1);
        Ok(())
    });
}
