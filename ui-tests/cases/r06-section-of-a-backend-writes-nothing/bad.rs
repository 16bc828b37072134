//! Rule R6: A section of a backend writes no edge of the node below.
//! QEMU: None recorded. blk_drain() drains what is below, whatever that is by the time it ends.
//! Shape: receiver.
//! Why: Which node is written stands in a `Drained`; `DrainedBackend` lends one for a node.

use block_gs::BqlGuard;
use ui_tests::{disk, in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let disk = disk(bql, "disk", &top);
        let mut section = disk.drain(bql);
        section.set_backing(None)?;
        //~^ E0599 "no method named `set_backing` found for struct `DrainedBackend<"
        assert_eq!(base.view(&section).parents().count(), 0);
        Ok(())
    });
}
