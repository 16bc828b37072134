//! Twin of bad.rs: the section lends one of the node.

use block_gs::BqlGuard;
use ui_tests::{disk, in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let disk = disk(bql, "disk", &top);
        let mut section = disk.drain(bql);
        section.also(&top).set_backing(None)?;
        assert_eq!(base.view(&section).parents().count(), 0);
        Ok(())
    });
}
