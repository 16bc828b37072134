//! Twin of bad.rs: they are changed afterwards.

use block_gs::BqlGuard;
use block_io::{Activity, Buffer, IoError, Request};
use ui_tests::{in_main_loop, null};

async fn write_twice(request: Request<'_>) -> Result<(), IoError> {
    let mut buffer = Buffer::zeroed(512);
    let write = request.write(0, buffer.source());
    write.await?;
    buffer.as_mut_slice().fill(1);
    request.write(512, buffer.source()).await
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let counted = Activity::try_begin(node.io()).expect("not quiesced");
        bql.block_on(write_twice(counted.request()))?;
        Ok(())
    });
}
