//! Twin of bad.rs: what is kept is the number that was looked up.

use block_gs::BqlGuard;
use block_io::NodeUid;
use std::sync::Mutex;
use ui_tests::{disk, in_main_loop, null};

static LAST: Mutex<Option<NodeUid>> = Mutex::new(None);

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let root = disk.root();
        let in_flight = root.try_begin().expect("not quiesced");
        *LAST.lock().expect("no panic") = Some(in_flight.request()?.node().uid());
        assert!(LAST.lock().expect("no panic").is_some());
        Ok(())
    });
}
