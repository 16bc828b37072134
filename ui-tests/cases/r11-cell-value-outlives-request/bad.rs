//! Rule R11: What a driver's cell shows is not kept beyond the request.
//! QEMU: None recorded. What `bs->opaque` leads to can be kept by anybody, also across a reopen.
//! Shape: order.
//! Why: `GraphCell::get` lends for as long as the request lasts, and that for as long as its count.

use block_gs::BqlGuard;
use block_io::{Activity, GraphCell};
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let name = GraphCell::new(node.io().uid(), String::from("old.img"));
        let in_flight = Activity::try_begin(node.io()).expect("not quiesced");
        let seen: &str = name.get(in_flight.request());
        drop(in_flight);
        //~^ E0505 "cannot move out of `in_flight` because it is borrowed"
        let old = node.drain(bql).set(&name, String::from("new.img"));
        assert_eq!(seen, old);
        Ok(())
    });
}
