//! Twin of bad.rs: what is done is counted as an activity of the node.

use block_gs::BqlGuard;
use block_io::{Activity, IoNode};
use std::sync::{Arc, OnceLock};
use ui_tests::{SIZE, in_main_loop, null};

static NODE: OnceLock<Arc<IoNode>> = OnceLock::new();

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let node = NODE.get_or_init(|| node.io().clone());
        let counted = Activity::try_begin(node).expect("not quiesced");
        let length = bql.block_on(node.driver().length(counted.request()));
        assert_eq!(length?, SIZE);
        Ok(())
    });
}
