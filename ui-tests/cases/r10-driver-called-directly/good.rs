//! Twin of bad.rs: the request leads to the driver.

use block_gs::BqlGuard;
use block_io::{Activity, IoFuture};
use ui_tests::{SIZE, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let counted = Activity::try_begin(node.io()).expect("not quiesced");
        let length: IoFuture<'_, _> = node.io().driver().length(counted.request());
        assert_eq!(bql.block_on(length)?, SIZE);
        Ok(())
    });
}
