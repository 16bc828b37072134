//! Twin of bad.rs: the closure runs, and then the section ends.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let mut section = top.drain(bql);
        let mut detach = || section.set_backing(None);
        detach()?;
        section.end();
        assert_eq!(top.view(bql).children().count(), 0);
        Ok(())
    });
}
