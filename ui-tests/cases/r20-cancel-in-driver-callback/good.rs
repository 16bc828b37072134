//! Twin of bad.rs: the outcome is awaited.

use block_gs::BqlGuard;
use block_io::aio::{JoinHandle, sleep};
use block_io::{Activity, IoFuture, Request};
use std::time::Duration;
use ui_tests::{in_main_loop, null};

fn flush(request: Request<'_>, prefetch: JoinHandle<()>) -> IoFuture<'_> {
    IoFuture::new(async move {
        assert_eq!(prefetch.cancel().await, None);
        request.flush().await
    })
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let counted = Activity::try_begin(node.io()).expect("not quiesced");
        let prefetch = bql.context().spawn(sleep(Duration::from_secs(3600)));
        bql.block_on(flush(counted.request(), prefetch))?;
        Ok(())
    });
}
