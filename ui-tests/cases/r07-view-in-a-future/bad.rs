//! Rule R7: A future that looks at the graph is not what the main loop waits for.
//! QEMU: None recorded. A coroutine in the main thread keeps pointers to nodes while it
//! yields.
//! Shape: async.
//! Why: The future borrows the guard, and waiting takes it exclusively.

use block_gs::BqlGuard;
use block_io::aio::yield_now;
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, main) = (null(bql, "node"), bql.main_loop());
        let view = node.view(bql);
        let count = async {
            yield_now().await;
            drop(main);
            view.quiesce_count()
        };
        assert_eq!(bql.block_on(count), 0);
        //~^ E0502 "cannot borrow `*bql` as mutable because it is also borrowed as immutable"
        Ok(())
    });
}
