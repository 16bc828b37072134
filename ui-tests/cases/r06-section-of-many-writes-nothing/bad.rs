//! Rule R6: A section of many nodes writes the edges of none of them.
//! QEMU: None recorded. bdrv_drain_all_begin() drains everything, and anything may be written
//! then.
//! Shape: receiver.
//! Why: Which node is written stands in a `Drained`, and `DrainedSet` lends one for each.

use block_gs::{BqlGuard, drain_many};
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let tops = [overlay(bql, "a", &base), overlay(bql, "b", &base)];
        let mut queue = drain_many(bql, tops.clone());
        queue.set_backing(None)?;
        //~^ E0277 "writing the graph takes a `Drained` section, and `DrainedSet<'_>` is none"
        assert_eq!(base.view(&queue).parents().count(), 0);
        Ok(())
    });
}
