//! Limit: A `GraphCell` read with a request of another node compiles, and panics.
//! QEMU: bs->opaque of another node.
//! Why: A node is not known to the type of its request; the cell compares identities.

use block_gs::BqlGuard;
use block_io::{Activity, GraphCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (mine, other) = (null(bql, "mine"), null(bql, "other"));
        let cell = GraphCell::new(mine.io().uid(), 1);
        let counted = Activity::try_begin(other.io()).expect("not quiesced");
        let read = catch_unwind(AssertUnwindSafe(|| *cell.get(counted.request())));
        assert!(read.is_err());
        Ok(())
    });
}
