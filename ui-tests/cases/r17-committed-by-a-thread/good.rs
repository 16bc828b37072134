//! Twin of bad.rs: this thread commits.

use block_gs::BqlGuard;
use std::thread;
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let mut section = top.drain(bql);
        let mut changes = section.transaction();
        changes.set_backing(None);
        changes.commit()?;
        thread::scope(|scope| scope.spawn(|| drop(base)).join().expect("no panic"));
        assert_eq!(top.view(&section).children().count(), 0);
        Ok(())
    });
}
