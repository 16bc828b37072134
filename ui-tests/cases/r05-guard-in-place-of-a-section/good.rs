//! Twin of bad.rs: the section is opened where the writer is made.

use block_gs::{BqlGuard, Drained, GraphError};
use ui_tests::{in_main_loop, null, overlay};

struct Writer<'a> {
    parent: Drained<'a>,
}

impl Writer<'_> {
    fn unplug(mut self) -> Result<(), GraphError> {
        self.parent.set_backing(None)
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let parent = top.drain(bql);
        let writer = Writer { parent };
        writer.unplug()?;
        assert_eq!(top.view(bql).children().count(), 0);
        Ok(())
    });
}
