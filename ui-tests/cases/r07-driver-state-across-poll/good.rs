//! Twin of bad.rs: the value is copied out.

use block_gs::{BqlCell, BqlGuard};
use std::time::Duration;
use ui_tests::in_main_loop;

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let state = BqlCell::new(bql, vec![1, 2, 3]);
        let borrowed = state.get(bql).clone();
        bql.run_for(Duration::ZERO);
        assert_eq!(borrowed.len(), 3);
        Ok(())
    });
}
