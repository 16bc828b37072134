//! Rule R14: The proof of global state is none for an I/O callback.
//! QEMU: V099, V109, functions of the I/O header with a global-state assertion inside.
//! Shape: argument.
//! Why: The callback takes a counted `Request`: the BQL does not keep a drain from completing.

use block_gs::BqlGuard;
use ui_tests::{SIZE, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let length = node.io().driver().length(bql);
        //~^ E0308 "expected `Request<'_>`, found `&mut BqlGuard`"
        let length = bql.block_on(length)?;
        assert_eq!(length, SIZE);
        Ok(())
    });
}
