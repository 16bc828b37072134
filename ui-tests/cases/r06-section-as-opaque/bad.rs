//! Rule R6: A section is not kept behind an opaque pointer.
//! QEMU: None recorded. `opaque` is a void pointer, and C does not ask how long it is valid.
//! Shape: trait-object.
//! Why: `dyn Any` is `'static`, and a section borrows the guard.

use block_gs::{BqlGuard, Drained};
use std::any::Any;
use ui_tests::{in_main_loop, null};

fn opaque(value: impl Any) -> Box<dyn Any> {
    Box::new(value)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let opaque = opaque(node.drain(bql));
        //~^ "borrowed data escapes outside of closure"
        assert!(opaque.is::<Drained<'static>>());
        Ok(())
    });
}
