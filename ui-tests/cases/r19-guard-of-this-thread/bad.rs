//! Rule R19: A thread cannot ask for the guard because it is the main thread.
//! QEMU: None recorded. bql_locked() can be asked by any thread.
//! Shape: thread.
//! Why: `BqlGuard` has no function that makes one out of nothing; the main loop lends it.

use block_gs::{BlockLayer, BqlGuard, nodes};

fn main() {
    let layer = BlockLayer::new().expect("a block layer");
    let main = layer.main_loop();
    let third = std::thread::spawn(move || {
        let bql = BqlGuard::of_this_thread();
        //~^ E0599 "found for struct `BqlGuard`"
        assert_eq!(nodes(bql).count(), 0);
        main.kick();
    });
    third.join().expect("no panic");
}
