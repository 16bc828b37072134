//! Rule R15: No node is made while a thread walks over their names.
//! QEMU: None recorded. query-named-block-nodes walks a list that any thread could walk.
//! Shape: thread.
//! Why: The names are borrowed from the graph, in whichever thread they are.

use block_gs::{BqlGuard, NodeView, nodes};
use std::thread;
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let _a = null(bql, "a");
        let names: Vec<&str> = nodes(bql).map(NodeView::name).collect();
        let found = thread::scope(|scope| {
            //~^ E0500 "closure requires unique access to `*bql` but it is already borrowed"
            let counter = scope.spawn(|| names.len());
            let _b = null(bql, "b");
            counter.join().expect("no panic")
        });
        assert_eq!(found, 1);
        Ok(())
    });
}
