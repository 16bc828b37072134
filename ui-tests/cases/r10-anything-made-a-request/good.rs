//! Twin of bad.rs: the root is asked to begin a request.

use block_gs::BqlGuard;
use block_io::Request;
use ui_tests::{disk, in_main_loop, null};

fn name_below<'r>(request: impl Into<Request<'r>>) -> String {
    request.into().node().name().to_owned()
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let in_flight = disk.root().try_begin().expect("not quiesced");
        let name = name_below(in_flight.request()?);
        assert_eq!(name, "node");
        Ok(())
    });
}
