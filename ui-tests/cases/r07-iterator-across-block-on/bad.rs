//! Rule R7: Nothing is waited for between two steps of an iteration over the graph.
//! QEMU: V084, bdrv_drain_all_poll() over bdrv_next_all_states(), safe only because what it
//! polls cannot change the graph.
//! Shape: order.
//! Why: The iterator borrows the guard, waiting takes it exclusively.

use block_gs::{BqlGuard, backends};
use ui_tests::{Outcome, disk, in_main_loop, null};

fn bdrv_flush_all(bql: &mut BqlGuard) -> Outcome {
    for backend in backends(bql) {
        backend.flush_blocking(bql)?;
        //~^ E0502 "cannot borrow `*bql` as mutable because it is also borrowed as immutable"
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
