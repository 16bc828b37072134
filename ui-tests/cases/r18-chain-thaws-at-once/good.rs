//! Twin of bad.rs: it is bound to a name.

#![deny(unused_must_use)]

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let _frozen = top.freeze_chain(bql, &base)?;
        assert!(top.is_chain_frozen(bql, &base)?);
        Ok(())
    });
}
