//! Twin of bad.rs: the request is made after the counts have changed places.

use block_gs::BqlGuard;
use std::mem::swap;
use ui_tests::{disk, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (one, two) = (null(bql, "one"), null(bql, "two"));
        let (one, two) = (disk(bql, "disk1", &one), disk(bql, "disk2", &two));
        let mut in_flight = one.root().try_begin().expect("not drained");
        let mut another = two.root().try_begin().expect("not drained");
        swap(&mut in_flight, &mut another);
        let request = in_flight.request()?;
        drop(another);
        assert_eq!(request.node().name(), "two");
        assert_eq!((one.root().in_flight(), two.root().in_flight()), (0, 1));
        Ok(())
    });
}
