//! Twin of bad.rs: the section comes first.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (old, new) = (null(bql, "old"), null(bql, "new"));
        let top = overlay(bql, "top", &old);
        let mut section = top.drain(bql);
        let mut changes = section.transaction();
        changes.set_backing(Some(&new));
        changes.commit()?;
        Ok(())
    });
}
