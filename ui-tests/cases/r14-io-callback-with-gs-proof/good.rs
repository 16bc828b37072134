//! Twin of bad.rs: the owner of a drained section makes the request.

use block_gs::BqlGuard;
use ui_tests::{SIZE, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let mut section = node.drain(bql);
        let length = section.io(async |request| request.node().driver().length(request).await)?;
        assert_eq!(length, SIZE);
        Ok(())
    });
}
