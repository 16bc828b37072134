//! Rule R7: The condition of a poll cannot poll itself.
//! QEMU: V084, safe only because the polled predicate cannot change the graph.
//! Shape: closure.
//! Why: The condition gets `&BqlGuard`.

use block_gs::BqlGuard;
use ui_tests::{disk, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        bql.poll_until(|bql| disk.flush_blocking(bql).is_ok());
        //~^ E0308 "types differ in mutability"
        assert_eq!(node.view(bql).quiesce_count(), 0);
        Ok(())
    });
}
