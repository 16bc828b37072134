//! Limit: A forgotten chain stays frozen, and its links cannot be changed.
//! QEMU: a bdrv_freeze_backing_chain() without its bdrv_unfreeze_backing_chain().
//! Why: `mem::forget` is safe. What is asked for then is refused, and nothing breaks.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        std::mem::forget(top.freeze_chain(bql, &base)?);
        let refused = top.drain(bql).set_backing(None);
        assert!(refused.is_err());
        assert!(top.is_chain_frozen(bql, &base)?);
        std::process::exit(0);
    });
}
