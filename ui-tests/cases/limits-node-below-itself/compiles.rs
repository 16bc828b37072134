//! Limit: A section takes any node as a child, also one that is above; it is refused.
//! QEMU: bdrv_recurse_has_child(), asked by some callers.
//! Why: What is above what changes at run time. `commit` looks, and changes nothing.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let middle = overlay(bql, "middle", &base);
        let top = overlay(bql, "top", &middle);
        assert!(middle.drain(bql).set_backing(Some(&top)).is_err());
        let edge = middle.view(bql).child("backing").expect("unchanged");
        assert_eq!(edge.child().name(), "base");
        Ok(())
    });
}
