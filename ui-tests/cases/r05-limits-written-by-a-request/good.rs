//! Twin of bad.rs: the limits are read, which takes the request.

use block_gs::{BlockLimits, BqlGuard};
use block_io::{Activity, Request};
use ui_tests::{in_main_loop, null};

fn bdrv_co_probe(request: Request<'_>) -> BlockLimits {
    request.limits().clone()
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let counted = Activity::try_begin(node.io()).expect("not quiesced");
        let limits = bdrv_co_probe(counted.request());
        assert_eq!(limits, node.view(bql).limits());
        Ok(())
    });
}
