//! Rule R2: The proof cannot be lent to another thread.
//! QEMU: None recorded. Nothing in C ties a pointer to the thread that may use it.
//! Shape: thread.
//! Why: `BqlGuard` is not `Sync`, so a borrow of it is not `Send`.

use block_gs::{BqlGuard, nodes};
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        null(bql, "node").set_monitor_owned(bql);
        let count = std::thread::scope(|scope| {
            let counter = scope.spawn(|| nodes(bql).count());
            //~^ E0277 "cannot be shared between threads safely"
            counter.join().expect("a count")
        });
        assert_eq!(count, 1);
        Ok(())
    });
}
