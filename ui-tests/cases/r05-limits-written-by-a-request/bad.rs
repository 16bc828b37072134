//! Rule R5: A request does not change the limits that it is being held to.
//! QEMU: None recorded. `bs->bl` is a field, and a driver may write it in any callback.
//! Shape: receiver.
//! Why: The one function that could is `unsafe`; a drained section has it done by the driver.

use block_gs::{BlockLimits, BqlGuard};
use block_io::{Activity, Request};
use ui_tests::{in_main_loop, null};

fn bdrv_co_probe(request: Request<'_>) -> BlockLimits {
    let limits = BlockLimits::default();
    request.node().replace_limits_in_drained_section(limits);
    //~^ E0133 "replace_limits_in_drained_section` is unsafe"
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
