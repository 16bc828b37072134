//! Rule R2: A bottom half cannot bring the proof of whoever scheduled it.
//! QEMU: None recorded. A bottom half gets a pointer, and C does not ask how long it is valid.
//! Shape: closure.
//! Why: It runs later, so it may borrow nothing; it gets a guard of its own when it runs.

use block_gs::{BqlGuard, nodes};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (found, main) = (Arc::new(AtomicUsize::new(0)), bql.main_loop());
        let _node = null(bql, "node");
        let answer = found.clone();
        main.schedule(move |_| answer.store(nodes(bql).count(), Ordering::Relaxed));
        //~^ E0277 "cannot be sent between threads safely"
        Ok(())
    });
}
