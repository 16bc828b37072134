//! Rule R19: A guard is not made on demand where none was lent.
//! QEMU: None recorded. A macro looks at the thread.
//! Shape: closure.
//! Why: A closure makes what its caller can make, and that is no guard.

use block_gs::{BqlGuard, nodes};
use ui_tests::{in_main_loop, null};

fn node_count(lent: Option<&BqlGuard>) -> usize {
    let made = lent.is_none().then(|| BqlGuard::default());
    //~^ E0599 "no function or associated item named `default` found for struct `BqlGuard`"
    lent.or(made.as_ref()).map_or(0, |bql| nodes(bql).count())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let _node = null(bql, "node");
        assert_eq!((node_count(Some(bql)), node_count(None)), (1, 0));
        Ok(())
    });
}
