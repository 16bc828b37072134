//! Rule R18: A chain that is frozen by nobody is not frozen.
//! QEMU: None recorded. bdrv_freeze_backing_chain() sets flags, and an early return forgets
//! them.
//! Shape: unused.
//! Why: `FrozenChain` is `must_use`: dropped, it thaws.

#![deny(unused_must_use)]

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        top.freeze_chain(bql, &base)?;
        //~^ "the chain thaws when this is dropped"
        assert!(top.is_chain_frozen(bql, &base)?);
        Ok(())
    });
}
