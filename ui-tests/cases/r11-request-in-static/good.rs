//! Twin of bad.rs: what is kept is which node it was.

use block_gs::BqlGuard;
use block_io::{Activity, NodeUid};
use std::sync::Mutex;
use ui_tests::{in_main_loop, null};

static LAST: Mutex<Option<NodeUid>> = Mutex::new(None);

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let in_flight = Activity::try_begin(node.io()).expect("not quiesced");
        *LAST.lock().expect("no panic") = Some(in_flight.request().node().uid());
        assert!(LAST.lock().expect("no panic").is_some());
        Ok(())
    });
}
