//! Rule R15: A walk that is kept in a struct goes over a list that does not change.
//! QEMU: None recorded. BdrvNextIterator is kept by its caller while nodes come and go.
//! Shape: field.
//! Why: The struct borrows the guard as the iterator does.

use block_gs::{Backend, BqlGuard, backends};
use ui_tests::{disk, in_main_loop, null};

struct Walk<I> {
    rest: I,
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let one = disk(bql, "one", &node);
        let mut walk = Walk {
            rest: backends(bql),
        };
        let two = disk(bql, "two", &node);
        //~^ E0502 "cannot borrow `*bql` as mutable because it is also borrowed as immutable"
        let first: Backend = walk.rest.next().expect("one");
        assert!([one.name(), two.name()].contains(&first.name()));
        Ok(())
    });
}
