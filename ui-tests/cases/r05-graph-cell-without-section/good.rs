//! Twin of bad.rs: the section that the reopen holds anyway replaces the value.

use block_gs::BqlGuard;
use block_io::{Activity, GraphCell};
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let offset = GraphCell::new(node.io().uid(), 0);
        let in_flight = Activity::try_begin(node.io()).expect("not quiesced");
        assert_eq!(*offset.get(in_flight.request()), 0);
        drop(in_flight);
        let old = node.drain(bql).set(&offset, 512);
        assert_eq!(old, 0);
        Ok(())
    });
}
