//! Twin of bad.rs: the request ends after the thread.

use block_gs::BqlGuard;
use std::thread;
use ui_tests::{disk, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let in_flight = disk.root().try_begin().expect("not quiesced");
        let request = in_flight.request()?;
        let name = thread::scope(|scope| {
            let third = scope.spawn(move || request.node().name().to_owned());
            third.join().expect("no panic")
        });
        drop(in_flight);
        assert_eq!(name, "node");
        Ok(())
    });
}
