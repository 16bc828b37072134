//! Twin of bad.rs: a drained section of the parent is opened first.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null, raw};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (old, new) = (null(bql, "old"), null(bql, "new"));
        let format = raw(bql, "format", &old);
        format.drain(bql).replace_child("file", &new)?;
        let edge = format.view(bql).child("file").expect("a file");
        assert_eq!(edge.child().name(), "new");
        Ok(())
    });
}
