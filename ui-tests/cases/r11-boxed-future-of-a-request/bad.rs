//! Rule R11: What a request has begun is not boxed as something that lives for ever.
//! QEMU: None recorded. A coroutine is a pointer, and C does not ask what it uses.
//! Shape: trait-object.
//! Why: Without a lifetime of its own a boxed future is `'static`, and that of a request is
//! not.

use block_gs::BqlGuard;
use block_io::{Activity, IoError, Request};
use std::pin::Pin;
use ui_tests::{SIZE, in_main_loop, null};

type Later = Pin<Box<dyn Future<Output = Result<u64, IoError>> + Send>>;

fn length_later(request: Request<'_>) -> Later {
    Box::pin(request.refresh_length())
    //~^ "lifetime may not live long enough"
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let counted = Activity::try_begin(node.io()).expect("not quiesced");
        assert_eq!(bql.block_on(length_later(counted.request()))?, SIZE);
        Ok(())
    });
}
