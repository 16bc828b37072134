//! Rule R5: Who keeps a section to write with cannot put the guard in its place.
//! QEMU: V058, bdrv_child_cb_detach(), whose assertion asks for the BQL and for nothing else.
//! Shape: field.
//! Why: The field says what the writer needs, and the guard is less.

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
        let writer = Writer { parent: bql };
        //~^ E0308 "expected `Drained<'_>`, found `&mut BqlGuard`"
        writer.unplug()?;
        assert_eq!(top.view(bql).children().count(), 0);
        Ok(())
    });
}
