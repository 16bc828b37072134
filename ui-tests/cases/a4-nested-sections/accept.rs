//! Accept A4: Drained sections nest: of one node, of many, of a number known at run time.
//! QEMU: bdrv_drained_begin() inside bdrv_drain_all_begin(), and over the nodes of a reopen
//! queue.
//! Why: A section lends itself to the one inside; the counters do the rest.

use block_gs::{BqlGuard, Node, drain_all, drain_many};
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let all: Vec<Node> = (0..5).map(|i| null(bql, &format!("n{i}"))).collect();
        let mut queue = drain_many(bql, all.clone());
        let mut again = queue.also(&all[3]);
        let innermost = again.also(&all[3]);
        assert_eq!(all[3].view(&innermost).quiesce_count(), 3);
        assert_eq!(all[0].view(&innermost).quiesce_count(), 1);
        innermost.end();
        again.end();
        queue.end();
        let mut whole = drain_all(bql);
        let born = whole.with(|bql| null(bql, "born"));
        assert_eq!(born.view(&whole).quiesce_count(), 1);
        Ok(())
    });
}
