//! Rule R11: A request is not put in a static for the next one to go on with.
//! QEMU: None recorded. A BdrvChild can be kept in a static.
//! Shape: static.
//! Why: The static outlives what the request is counted by.

use block_gs::BqlGuard;
use block_io::{Activity, Request};
use std::sync::Mutex;
use ui_tests::{in_main_loop, null};

static LAST: Mutex<Option<Request<'static>>> = Mutex::new(None);

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let in_flight = Activity::try_begin(node.io()).expect("not quiesced");
        *LAST.lock().expect("no panic") = Some(in_flight.request());
        //~^ E0597 "`in_flight` does not live long enough"
        assert!(LAST.lock().expect("no panic").is_some());
        Ok(())
    });
}
