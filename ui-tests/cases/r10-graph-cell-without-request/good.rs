//! Twin of bad.rs: the timer begins an activity of its node.

use block_gs::BqlGuard;
use block_io::{Activity, GraphCell};
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let offset = GraphCell::new(node.io().uid(), 512);
        let timer = async {
            let counted = Activity::begin(node.io().clone()).await;
            assert_eq!(*offset.get(counted.request()), 512);
        };
        bql.block_on(timer);
        Ok(())
    });
}
