//! Rule R14: A driver that keeps another one does not call its global-state callbacks in a
//! request.
//! QEMU: V074, bdrv_get_parent_name() -> BdrvChildClass.get_name, sorted as global state and
//! called by I/O.
//! Shape: field.
//! Why: The callback takes a `&BqlGuard`, and the request brings none.

use block_gs::{BlockDriver, BqlGuard};
use block_io::{Activity, IoFuture, Request};
use std::sync::Arc;
use ui_tests::{Overlay, SIZE, in_main_loop, null};

struct Outer {
    inner: Arc<dyn BlockDriver>,
}

impl Outer {
    fn length<'r>(&'r self, request: Request<'r>) -> IoFuture<'r, u64> {
        self.inner.drain_begin();
        //~^ E0061 "argument #1 of type `&BqlGuard` is missing"
        self.inner.length(request)
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, inner) = (null(bql, "node"), Arc::new(Overlay));
        let counted = Activity::try_begin(node.io()).expect("not quiesced");
        let outer = Outer { inner };
        assert_eq!(bql.block_on(outer.length(counted.request()))?, SIZE);
        Ok(())
    });
}
