//! Twin of bad.rs: each read gets its half.

use block_gs::BqlGuard;
use block_io::{Activity, Buffer, IoError, Request};
use ui_tests::{in_main_loop, null};

async fn read_both(request: Request<'_>) -> Result<Buffer, IoError> {
    let mut buffer = Buffer::zeroed(1024);
    let (left, right) = buffer.destination().split_at(512);
    let first = request.read(0, left);
    let second = request.read(512, right);
    first.await?;
    second.await?;
    Ok(buffer)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let counted = Activity::try_begin(node.io()).expect("not quiesced");
        let buffer = bql.block_on(read_both(counted.request()))?;
        assert_eq!(buffer.as_slice()[1023], 0);
        Ok(())
    });
}
