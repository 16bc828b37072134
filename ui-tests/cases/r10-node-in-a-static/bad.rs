//! Rule R10: A node in a static is not read by whoever finds it there.
//! QEMU: None recorded. Nodes can be found by name in any thread.
//! Shape: static.
//! Why: An `IoNode` may be anywhere; what is done with it takes a `Request`.

use block_gs::BqlGuard;
use block_io::IoNode;
use std::sync::{Arc, OnceLock};
use ui_tests::{SIZE, in_main_loop, null};

static NODE: OnceLock<Arc<IoNode>> = OnceLock::new();

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let node = NODE.get_or_init(|| node.io().clone());
        let length = bql.block_on(node.driver().length());
        //~^ E0061 "argument #1 of type"
        assert_eq!(length?, SIZE);
        Ok(())
    });
}
