//! Rule R5: What requests read is not replaced without a section because it lies in a static.
//! QEMU: None recorded. A static that requests read can be written by anybody.
//! Shape: static.
//! Why: `GraphCell` has one safe setter, and that is a method of the section.

use block_gs::BqlGuard;
use block_io::GraphCell;
use std::sync::OnceLock;
use ui_tests::{in_main_loop, null};

static OFFSET: OnceLock<GraphCell<u64>> = OnceLock::new();

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let offset = OFFSET.get_or_init(|| GraphCell::new(node.io().uid(), 0));
        let old = offset.replace_in_drained_section(512);
        //~^ E0133 "replace_in_drained_section` is unsafe"
        assert_eq!(old, 0);
        Ok(())
    });
}
