//! Rule R6: A drained section lends the guard for looking, not for polling.
//! QEMU: None recorded. What may be called in a drained section is said in comments.
//! Shape: receiver.
//! Why: `Drained` dereferences to `&BqlGuard`, never to `&mut BqlGuard`.

use block_gs::BqlGuard;
use std::time::Duration;
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let section = node.drain(bql);
        section.run_for(Duration::ZERO);
        //~^ E0596 "cannot borrow data in dereference of `Drained<'_>` as mutable"
        assert_eq!(node.view(&section).quiesce_count(), 1);
        Ok(())
    });
}
