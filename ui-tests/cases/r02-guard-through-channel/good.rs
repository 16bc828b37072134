//! Twin of bad.rs: the thread gets a handle, and the main loop lends it nothing.

use block_gs::{BqlGuard, MainLoop, nodes};
use std::sync::mpsc;
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let _node = null(bql, "node");
        let (send, receive) = mpsc::channel::<MainLoop>();
        let count = std::thread::scope(|scope| {
            let counter = scope.spawn(move || receive.iter().count());
            send.send(bql.main_loop()).expect("a receiver");
            drop(send);
            counter.join().expect("no panic")
        });
        assert_eq!((count, nodes(bql).count()), (1, 1));
        Ok(())
    });
}
