//! Rule R15: The list of backends is not changed while it is walked.
//! QEMU: None recorded. blk_remove_all_bs() walks the list that it changes the members of.
//! Shape: closure.
//! Why: The walk borrows the guard, removing takes it exclusively.

use block_gs::{BqlGuard, backends};
use ui_tests::{disk, in_main_loop, null};

fn blk_remove_all_bs(bql: &mut BqlGuard) {
    backends(bql).for_each(|backend| backend.remove(bql));
    //~^ E0500 "closure requires unique access to `*bql` but it is already borrowed"
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
