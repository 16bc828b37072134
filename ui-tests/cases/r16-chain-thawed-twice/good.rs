//! Twin of bad.rs: it is thawed once.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let chain = top.freeze_chain(bql, &base)?;
        chain.thaw(bql);
        assert!(!top.is_chain_frozen(bql, &base)?);
        Ok(())
    });
}
