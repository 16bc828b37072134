//! Rule R6: A reopen queue does not collect sections one by one.
//! QEMU: None recorded. Any number of sections can be open at once, in no order.
//! Shape: field.
//! Why: Each section borrows the guard exclusively; for many nodes there is one section of
//! many.

use block_gs::{BqlGuard, Drained, Node};
use ui_tests::{in_main_loop, null};

struct ReopenQueue<'a> {
    sections: Vec<Drained<'a>>,
}

impl<'a> ReopenQueue<'a> {
    fn new(bql: &'a mut BqlGuard, nodes: &[Node]) -> Self {
        let mut sections = Vec::new();
        for node in nodes {
            sections.push(node.drain(bql));
            //~^ E0499 "cannot borrow `*bql` as mutable more than once at a time"
        }
        ReopenQueue { sections }
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let nodes = [null(bql, "one"), null(bql, "two")];
        let queue = ReopenQueue::new(bql, &nodes);
        assert_eq!(nodes[0].view(&queue.sections[0]).quiesce_count(), 1);
        Ok(())
    });
}
