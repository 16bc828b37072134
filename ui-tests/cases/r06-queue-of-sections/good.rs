//! Twin of bad.rs: the nodes are drained together.

use block_gs::{BqlGuard, DrainedSet, Node, drain_many};
use ui_tests::{in_main_loop, null};

struct ReopenQueue<'a> {
    sections: DrainedSet<'a>,
}

impl<'a> ReopenQueue<'a> {
    fn new(bql: &'a mut BqlGuard, nodes: &[Node]) -> Self {
        let sections = drain_many(bql, nodes.iter().cloned());
        ReopenQueue { sections }
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let nodes = [null(bql, "one"), null(bql, "two")];
        let queue = ReopenQueue::new(bql, &nodes);
        assert_eq!(nodes[0].view(&queue.sections).quiesce_count(), 1);
        Ok(())
    });
}
