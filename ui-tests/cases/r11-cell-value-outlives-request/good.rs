//! Twin of bad.rs: what is kept is a copy.

use block_gs::BqlGuard;
use block_io::{Activity, GraphCell};
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let name = GraphCell::new(node.io().uid(), String::from("old.img"));
        let in_flight = Activity::try_begin(node.io()).expect("not quiesced");
        let seen: String = name.get(in_flight.request()).clone();
        drop(in_flight);
        let old = node.drain(bql).set(&name, String::from("new.img"));
        assert_eq!(seen, old);
        Ok(())
    });
}
