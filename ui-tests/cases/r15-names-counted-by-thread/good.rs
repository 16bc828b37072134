//! Twin of bad.rs: the thread gets copies.

use block_gs::{BqlGuard, nodes};
use std::thread;
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let _a = null(bql, "a");
        let names: Vec<String> = nodes(bql).map(|view| view.name().to_owned()).collect();
        let found = thread::scope(|scope| {
            let counter = scope.spawn(|| names.len());
            let _b = null(bql, "b");
            counter.join().expect("no panic")
        });
        assert_eq!(found, 1);
        Ok(())
    });
}
