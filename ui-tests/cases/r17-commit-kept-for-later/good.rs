//! Twin of bad.rs: it runs before.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let mut section = top.drain(bql);
        let mut changes = section.transaction();
        changes.set_backing(None);
        let commit = || changes.commit();
        commit()?;
        section.end();
        assert_eq!(top.view(bql).children().count(), 0);
        Ok(())
    });
}
