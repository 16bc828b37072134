//! Rule R15: The list of iothreads is not changed while it is walked.
//! QEMU: None recorded. Deleting an object changes the list that iothread_get_all() walks.
//! Shape: order.
//! Why: The walk borrows the guard, removing takes it exclusively.

use block_gs::{BqlGuard, iothreads};
use ui_tests::{in_main_loop, iothread};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let made = [iothread(bql, "io0"), iothread(bql, "io1")];
        assert_eq!(iothreads(bql).count(), made.len());
        for thread in iothreads(bql) {
            thread.remove(bql)?;
            //~^ E0502 "cannot borrow `*bql` as mutable because it is also borrowed as immutable"
        }
        assert_eq!(iothreads(bql).count(), 0);
        Ok(())
    });
}
