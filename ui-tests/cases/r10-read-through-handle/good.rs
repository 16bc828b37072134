//! Twin of bad.rs: an activity of the node is begun, and counted.

use block_gs::BqlGuard;
use block_io::{Activity, Buffer};
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let mut buffer = Buffer::zeroed(512);
        let read = async {
            let counted = Activity::begin(node.io().clone()).await;
            counted.request().read(0, buffer.destination()).await
        };
        bql.block_on(read)?;
        assert_eq!(node.io().in_flight(), 0);
        Ok(())
    });
}
