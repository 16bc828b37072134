//! Twin of bad.rs: the waiting is over before the plan is made.

use block_gs::BqlGuard;
use block_io::aio::yield_now;
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let mut section = top.drain(bql);
        section.block_on(yield_now());
        let mut changes = section.transaction();
        changes.set_backing(None);
        changes.commit()?;
        assert_eq!(top.view(&section).children().count(), 0);
        Ok(())
    });
}
