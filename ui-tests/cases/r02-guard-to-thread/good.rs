//! Twin of bad.rs: the other thread gets what was read with the proof.

use block_gs::{BqlGuard, nodes};
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        null(bql, "node").set_monitor_owned(bql);
        let count = std::thread::scope(|scope| {
            let names: Vec<_> = nodes(bql).map(|node| node.name()).collect();
            let counter = scope.spawn(move || names.len());
            counter.join().expect("a count")
        });
        assert_eq!(count, 1);
        Ok(())
    });
}
