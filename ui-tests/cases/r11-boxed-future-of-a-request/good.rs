//! Twin of bad.rs: the box has the lifetime of the request.

use block_gs::BqlGuard;
use block_io::{Activity, IoError, Request};
use std::pin::Pin;
use ui_tests::{SIZE, in_main_loop, null};

type Later<'r> = Pin<Box<dyn Future<Output = Result<u64, IoError>> + Send + 'r>>;

fn length_later(request: Request<'_>) -> Later<'_> {
    Box::pin(request.refresh_length())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let counted = Activity::try_begin(node.io()).expect("not quiesced");
        assert_eq!(bql.block_on(length_later(counted.request()))?, SIZE);
        Ok(())
    });
}
