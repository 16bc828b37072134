//! Rule R15: A walk over the backends does not wait between two of them.
//! QEMU: V084, bdrv_drain_all_poll() over bdrv_next_all_states(), safe only because what it
//! polls cannot change the graph.
//! Shape: async.
//! Why: The future borrows the guard with the walk, and waiting takes it exclusively.

use block_gs::{BqlGuard, backends};
use block_io::IoError;
use ui_tests::{disk, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let _disks = (disk(bql, "one", &node), disk(bql, "two", &node));
        let all = backends(bql);
        let flush_all = async {
            for disk in all {
                disk.root().flush().await?;
            }
            Ok::<_, IoError>(())
        };
        bql.block_on(flush_all)?;
        //~^ E0502 "cannot borrow `*bql` as mutable because it is also borrowed as immutable"
        Ok(())
    });
}
