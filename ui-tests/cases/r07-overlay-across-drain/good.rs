//! Twin of bad.rs: it is looked for inside the section.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let section = base.drain(bql);
        let found = top.view(&section).find_overlay(Some(base.view(&section)));
        let found = found.expect("an overlay");
        assert_eq!(found.name(), "top");
        section.end();
        Ok(())
    });
}
