//! Rule R6: A section is not lent to a thread that would write in it.
//! QEMU: None recorded. Nothing in C ties a section to the thread that has begun it.
//! Shape: thread.
//! Why: A section is as little `Send` as the guard inside.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (old, new) = (null(bql, "old"), null(bql, "new"));
        let top = overlay(bql, "top", &old);
        let mut section = top.drain(bql);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| section.set_backing(Some(&new)));
            //~^ E0277 "cannot be sent between threads safely"
            writer.join().expect("no panic")
        })?;
        assert_eq!(new.view(&section).parents().count(), 1);
        Ok(())
    });
}
