//! Twin of bad.rs: it lends one.

use block_gs::{BqlGuard, drain_many};
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let tops = [overlay(bql, "a", &base), overlay(bql, "b", &base)];
        let mut queue = drain_many(bql, tops.clone());
        queue.also(&tops[0]).set_backing(None)?;
        queue.also(&tops[1]).set_backing(None)?;
        assert_eq!(base.view(&queue).parents().count(), 0);
        Ok(())
    });
}
