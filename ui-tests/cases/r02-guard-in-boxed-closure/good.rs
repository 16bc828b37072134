//! Twin of bad.rs: the callback takes the proof when it is called.

use block_gs::{BqlGuard, nodes};
use ui_tests::{in_main_loop, null};

type Callback<'a> = Box<dyn FnOnce(&BqlGuard) -> usize + Send + 'a>;

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let _node = null(bql, "node");
        let later: Callback<'_> = Box::new(|bql| nodes(bql).count());
        assert_eq!(later(bql), 1);
        Ok(())
    });
}
