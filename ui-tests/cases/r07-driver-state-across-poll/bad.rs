//! Rule R7: The global state of a driver is not borrowed across a poll.
//! QEMU: None recorded. `bs->opaque` is a pointer, before a poll and after it.
//! Shape: order.
//! Why: `BqlCell::get` borrows the guard, because other callbacks may write the cell.

use block_gs::{BqlCell, BqlGuard};
use std::time::Duration;
use ui_tests::in_main_loop;

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let state = BqlCell::new(bql, vec![1, 2, 3]);
        let borrowed = state.get(bql);
        bql.run_for(Duration::ZERO);
        //~^ E0502 "cannot borrow `*bql` as mutable because it is also borrowed as immutable"
        assert_eq!(borrowed.len(), 3);
        Ok(())
    });
}
