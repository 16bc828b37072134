//! Twin of bad.rs: an activity is begun.

use block_gs::BqlGuard;
use block_io::Activity;
use ui_tests::{SIZE, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let counted = Activity::try_begin(node.io()).expect("not quiesced");
        let request = counted.request();
        assert_eq!(bql.block_on(request.refresh_length())?, SIZE);
        Ok(())
    });
}
