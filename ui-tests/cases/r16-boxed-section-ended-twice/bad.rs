//! Rule R16: A section behind `dyn` is not ended twice either.
//! QEMU: None recorded. A list of undo actions can be run twice.
//! Shape: trait-object.
//! Why: What ends it takes the box.

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
        section.undo();
        //~^ E0382 "use of moved value: `section`"
        assert_eq!(node.view(bql).quiesce_count(), 0);
        Ok(())
    });
}
