//! Twin of bad.rs: the handles are collected first; they can be kept across anything.

use block_gs::{BqlGuard, backends};
use ui_tests::{Outcome, disk, in_main_loop, null};

fn bdrv_flush_all(bql: &mut BqlGuard) -> Outcome {
    for backend in backends(bql).collect::<Vec<_>>() {
        backend.flush_blocking(bql)?;
    }
    Ok(())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let _disks = (disk(bql, "one", &node), disk(bql, "two", &node));
        assert_eq!(backends(bql).count(), 2);
        bdrv_flush_all(bql)
    });
}
