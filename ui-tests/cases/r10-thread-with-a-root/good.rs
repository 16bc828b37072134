//! Twin of bad.rs: the thread begins a request.

use block_gs::BqlGuard;
use block_io::{Request, Root};
use std::thread;
use ui_tests::{disk, in_main_loop, null};

fn name_below(request: Request<'_>) -> String {
    request.node().name().to_owned()
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let root: Root = disk.root().clone();
        let third = thread::spawn(move || {
            let in_flight = root.try_begin().expect("not quiesced");
            name_below(in_flight.request().expect("a medium"))
        });
        assert_eq!(third.join().expect("no panic"), "node");
        Ok(())
    });
}
