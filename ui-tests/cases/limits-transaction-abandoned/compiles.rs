//! Limit: A transaction with changes noted may be dropped without a warning; nothing is done
//! then.
//! QEMU: tran_abort().
//! Why: The value is a plan, so abandoning it is harmless.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (old, new) = (null(bql, "old"), null(bql, "new"));
        let top = overlay(bql, "top", &old);
        let mut section = top.drain(bql);
        section.transaction().set_backing(Some(&new));
        let edge = top
            .view(&section)
            .child("backing")
            .expect("a backing image");
        assert_eq!(edge.child().name(), "old");
        Ok(())
    });
}
