//! Rule R2: The proof is not sent through a channel.
//! QEMU: None recorded. Nothing in C ties a pointer to the thread that may use it.
//! Shape: thread.
//! Why: A receiver of what is not `Send` stays where it is.

use block_gs::{BqlGuard, nodes};
use std::sync::mpsc;
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let _node = null(bql, "node");
        let (send, receive) = mpsc::channel::<&BqlGuard>();
        let count = std::thread::scope(|scope| {
            let counter = scope.spawn(move || receive.iter().map(|bql| nodes(bql).count()).sum());
            //~^ E0277 "cannot be shared between threads safely"
            send.send(bql).expect("a receiver");
            drop(send);
            counter.join().expect("no panic")
        });
        assert_eq!(count, 1);
        Ok(())
    });
}
