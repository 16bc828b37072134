//! Twin of bad.rs: the main thread writes, and the thread prepares what is written.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (old, new) = (null(bql, "old"), null(bql, "new"));
        let top = overlay(bql, "top", &old);
        let mut section = top.drain(bql);
        std::thread::scope(|scope| {
            let chosen = scope.spawn(|| Some(&new));
            section.set_backing(chosen.join().expect("no panic"))
        })?;
        assert_eq!(new.view(&section).parents().count(), 1);
        Ok(())
    });
}
