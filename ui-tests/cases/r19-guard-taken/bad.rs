//! Rule R19: Nobody takes the proof out of where it was lent and leaves another.
//! QEMU: None recorded. bql_lock() and bql_unlock() can be called anywhere.
//! Shape: argument.
//! Why: A guard is lent by reference, and nobody can make one to put in its place.

use block_gs::{BqlGuard, nodes};
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let _node = null(bql, "node");
        let taken = std::mem::take(bql);
        //~^ E0277 "the trait bound `BqlGuard: Default` is not satisfied"
        assert_eq!(nodes(&taken).count(), 1);
        Ok(())
    });
}
