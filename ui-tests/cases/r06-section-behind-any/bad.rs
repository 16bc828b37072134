//! Rule R6: A section is not kept as something of unknown type.
//! QEMU: None recorded. An opaque pointer says nothing about sections.
//! Shape: trait-object.
//! Why: `Any` is for what is `'static`, and a section borrows the guard.

use block_gs::{BqlGuard, Drained};
use std::any::Any;
use ui_tests::{in_main_loop, null};

fn opaque(section: Drained<'_>) -> Box<dyn Any> {
    Box::new(section)
    //~^ "lifetime may not live long enough"
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let kept = opaque(node.drain(bql));
        assert_eq!(node.view(bql).quiesce_count(), 1);
        drop(kept);
        Ok(())
    });
}
