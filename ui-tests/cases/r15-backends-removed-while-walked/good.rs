//! Twin of bad.rs: the handles are collected first.

use block_gs::{BqlGuard, backends};
use ui_tests::{disk, in_main_loop, null};

fn blk_remove_all_bs(bql: &mut BqlGuard) {
    let all: Vec<_> = backends(bql).collect();
    all.iter().for_each(|backend| backend.remove(bql));
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disks = [disk(bql, "one", &node), disk(bql, "two", &node)];
        blk_remove_all_bs(bql);
        assert!(disks.iter().all(|disk| disk.node(bql).is_none()));
        Ok(())
    });
}
