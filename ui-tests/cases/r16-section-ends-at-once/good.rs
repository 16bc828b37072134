//! Twin of bad.rs: the section is kept while it is needed.

#![deny(unused_must_use)]
use block_gs::BqlGuard;
use ui_tests::{disk, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let section = node.drain(bql);
        assert!(disk.root().try_begin().is_none());
        section.end();
        Ok(())
    });
}
