//! Rule R2: A boxed callback for another thread cannot have the proof inside.
//! QEMU: None recorded. A callback gets a void pointer, and C does not ask how long it is
//! valid.
//! Shape: trait-object.
//! Why: Boxing hides the type of a closure, not that it must be `Send`.

use block_gs::{BqlGuard, nodes};
use ui_tests::{in_main_loop, null};

type Callback<'a> = Box<dyn FnOnce() -> usize + Send + 'a>;

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let _node = null(bql, "node");
        let later: Callback<'_> = Box::new(|| nodes(bql).count());
        //~^ E0277 "cannot be shared between threads safely"
        assert_eq!(later(), 1);
        Ok(())
    });
}
