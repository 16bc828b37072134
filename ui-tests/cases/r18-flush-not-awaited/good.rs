//! Twin of bad.rs: it is awaited, and its error passed on.

#![deny(unused_must_use)]
use block_gs::BqlGuard;
use block_io::{Activity, Buffer, IoError, Request};
use ui_tests::{in_main_loop, null};

async fn write_zeroes_and_flush(request: Request<'_>) -> Result<(), IoError> {
    request.write(0, Buffer::zeroed(512).source()).await?;
    request.flush().await
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let counted = Activity::try_begin(node.io()).expect("not quiesced");
        bql.block_on(write_zeroes_and_flush(counted.request()))?;
        Ok(())
    });
}
