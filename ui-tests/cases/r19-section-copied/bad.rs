//! Rule R19: A section is not copied.
//! QEMU: None recorded. A section is begun by incrementing a counter.
//! Shape: receiver.
//! Why: `Drained` is not `Clone`: each is ended once.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let section = node.drain(bql);
        let copy = section.clone();
        //~^ E0599 "no method named `clone` found for struct `Drained<"
        copy.end();
        section.end();
        assert_eq!(node.view(bql).quiesce_count(), 0);
        Ok(())
    });
}
