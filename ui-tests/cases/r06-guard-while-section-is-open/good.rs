//! Twin of bad.rs: the section is ended, then the loop is run.

use block_gs::BqlGuard;
use std::time::Duration;
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (old, new) = (null(bql, "old"), null(bql, "new"));
        let top = overlay(bql, "top", &old);
        let mut section = top.drain(bql);
        section.set_backing(Some(&new))?;
        section.end();
        bql.run_for(Duration::ZERO);
        assert_eq!(new.view(bql).parents().count(), 1);
        Ok(())
    });
}
