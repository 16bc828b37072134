//! Rule R16: A frozen chain is thawed once.
//! QEMU: None recorded. `BdrvChild.frozen` is a flag, and cleared by whoever clears it.
//! Shape: receiver.
//! Why: Thawing uses the value up, as ending does with a section.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let chain = top.freeze_chain(bql, &base)?;
        chain.thaw(bql);
        chain.thaw(bql);
        //~^ E0382 "use of moved value: `chain`"
        assert!(!top.is_chain_frozen(bql, &base)?);
        Ok(())
    });
}
