//! Twin of bad.rs: the thread gets a copy of the name.

use block_gs::BqlGuard;
use std::{thread, time::Duration};
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let name = node.view(bql).name().to_owned();
        let length = thread::scope(|scope| {
            let reader = scope.spawn(|| name.len());
            bql.run_for(Duration::ZERO);
            reader.join().expect("no panic")
        });
        assert_eq!(length, 4);
        Ok(())
    });
}
