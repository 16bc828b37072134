//! Rule R11: A request is not put in a static for the next one to go on with.
//! QEMU: None recorded. A BdrvChild can be kept in a static.
//! Shape: static.
//! Why: The static outlives the root that the request is counted at.

use block_gs::BqlGuard;
use block_io::Request;
use std::sync::Mutex;
use ui_tests::{disk, in_main_loop, null};

static LAST: Mutex<Option<Request<'static>>> = Mutex::new(None);

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let root = disk.root();
        let in_flight = root.try_begin().expect("not quiesced");
        //~^^ E0597 "`disk` does not live long enough"
        *LAST.lock().expect("no panic") = Some(in_flight.request()?);
        //~^ E0597 "`in_flight` does not live long enough"
        assert!(LAST.lock().expect("no panic").is_some());
        Ok(())
    });
}
