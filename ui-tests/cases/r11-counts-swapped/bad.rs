//! Rule R11: A count does not change places with another while its request runs.
//! QEMU: None recorded. blk_dec_in_flight() takes any backend whose counter is not zero.
//! Shape: argument.
//! Why: The request has borrowed the `InFlight` that is to be moved from under it.

use block_gs::BqlGuard;
use std::mem::swap;
use ui_tests::{disk, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (one, two) = (null(bql, "one"), null(bql, "two"));
        let (one, two) = (disk(bql, "disk1", &one), disk(bql, "disk2", &two));
        let mut in_flight = one.root().try_begin().expect("not drained");
        let mut another = two.root().try_begin().expect("not drained");
        let request = in_flight.request()?;
        swap(&mut in_flight, &mut another);
        //~^ E0502 "cannot borrow `in_flight` as mutable because it is also borrowed as immutable"
        drop(another);
        assert_eq!(request.node().name(), "one");
        Ok(())
    });
}
