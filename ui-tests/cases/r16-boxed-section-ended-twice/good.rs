//! Twin of bad.rs: it is ended once.

use block_gs::{BqlGuard, Drained};
use ui_tests::{in_main_loop, null};

trait Undo {
    fn undo(self: Box<Self>);
}

impl Undo for Drained<'_> {
    fn undo(self: Box<Self>) {
        self.end();
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let section: Box<dyn Undo + '_> = Box::new(node.drain(bql));
        section.undo();
        assert_eq!(node.view(bql).quiesce_count(), 0);
        Ok(())
    });
}
