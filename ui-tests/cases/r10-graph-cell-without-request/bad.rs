//! Rule R10: Data that a drained section may replace is read by counted requests only.
//! QEMU: None recorded. A timer of a driver may read what a reopen replaces.
//! Shape: async.
//! Why: `GraphCell::get` takes the `Request`, which keeps the section from opening.

use block_gs::BqlGuard;
use block_io::GraphCell;
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let offset = GraphCell::new(node.io().uid(), 512);
        let timer = async {
            assert_eq!(*offset.get(), 512);
            //~^ E0061 "argument #1 of type `block_io::Request<'_>` is missing"
        };
        bql.block_on(timer);
        Ok(())
    });
}
