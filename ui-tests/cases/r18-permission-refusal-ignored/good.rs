//! Twin of bad.rs: the refusal is looked at.

#![deny(unused_must_use)]
use block_gs::{BqlGuard, Perm};
use ui_tests::{disk, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let _reader = disk(bql, "reader", &node);
        let writer = disk(bql, "writer", &node);
        let refused = writer.set_perm(bql, Perm::WRITE, Perm::empty());
        assert!(refused.is_err());
        Ok(())
    });
}
