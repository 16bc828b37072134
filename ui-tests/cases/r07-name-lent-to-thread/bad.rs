//! Rule R7: A thread does not look at the graph while the main thread polls.
//! QEMU: None recorded. `bs->node_name` lies in the node, and is freed with it.
//! Shape: thread.
//! Why: What was borrowed with the guard keeps it borrowed, in whichever thread it is.

use block_gs::BqlGuard;
use std::{thread, time::Duration};
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let name = node.view(bql).name();
        let length = thread::scope(|scope| {
            //~^ E0500 "closure requires unique access to `*bql` but it is already borrowed"
            let reader = scope.spawn(|| name.len());
            bql.run_for(Duration::ZERO);
            reader.join().expect("no panic")
        });
        assert_eq!(length, 4);
        Ok(())
    });
}
