//! Twin of bad.rs: the inner driver is asked what requests may ask.

use block_gs::{BlockDriver, BqlGuard};
use block_io::{Activity, IoFuture, Request};
use std::sync::Arc;
use ui_tests::{Overlay, SIZE, in_main_loop, null};

struct Outer {
    inner: Arc<dyn BlockDriver>,
}

impl Outer {
    fn length<'r>(&'r self, request: Request<'r>) -> IoFuture<'r, u64> {
        assert!(!self.inner.capabilities().passes_through);
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
