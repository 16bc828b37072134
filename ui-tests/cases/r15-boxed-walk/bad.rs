//! Rule R15: A boxed walk goes over a list that does not change either.
//! QEMU: V082, block_job_remove_all_bdrv() -> bdrv_root_unref_child(): a nested traversal may
//! see a freed edge.
//! Shape: trait-object.
//! Why: The box has the lifetime of the borrow.

use block_gs::{Backend, BqlGuard, backends};
use ui_tests::{disk, in_main_loop, null};

type Walk<'b> = Box<dyn Iterator<Item = Backend> + 'b>;

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disks = [disk(bql, "one", &node), disk(bql, "two", &node)];
        let walk: Walk<'_> = Box::new(backends(bql));
        for backend in walk {
            backend.remove(bql);
            //~^ E0502 "cannot borrow `*bql` as mutable because it is also borrowed as immutable"
        }
        assert!(disks.iter().all(|disk| disk.node(bql).is_none()));
        Ok(())
    });
}
