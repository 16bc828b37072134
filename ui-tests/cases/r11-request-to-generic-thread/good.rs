//! Twin of bad.rs: the helper gets a count of its own.

use block_gs::BqlGuard;
use block_io::Activity;
use ui_tests::{disk, in_main_loop, null};

fn start<T: Send + 'static>(state: T, run: fn(T) -> bool) -> bool {
    std::thread::spawn(move || run(state))
        .join()
        .expect("no panic")
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let in_flight = disk.root().try_begin().expect("not quiesced");
        let run = |counted: Activity| counted.request().node().name() == "node";
        assert!(start(in_flight.request()?.activity(), run));
        Ok(())
    });
}
