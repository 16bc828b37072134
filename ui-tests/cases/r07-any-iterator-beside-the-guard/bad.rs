//! Rule R7: A function over any iterator gets none of the graph's if it may poll.
//! QEMU: V084, bdrv_drain_all_poll() over bdrv_next_all_states(), safe only because what it
//! polls cannot change the graph.
//! Shape: generic.
//! Why: Being generic does not hide what the iterator borrows.

use block_gs::{Backend, BqlGuard, backends};
use ui_tests::{Outcome, disk, in_main_loop, null};

fn flush_each(bql: &mut BqlGuard, each: impl IntoIterator<Item = Backend>) -> Outcome {
    for backend in each {
        backend.flush_blocking(bql)?;
    }
    Ok(())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let _disks = (disk(bql, "one", &node), disk(bql, "two", &node));
        let all = backends(bql);
        flush_each(bql, all)
        //~^ E0502 "cannot borrow `*bql` as mutable because it is also borrowed as immutable"
    });
}
