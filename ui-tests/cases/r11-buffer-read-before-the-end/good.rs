//! Twin of bad.rs: they are looked at afterwards.

use block_gs::BqlGuard;
use block_io::{Activity, Buffer, IoError, Request};
use ui_tests::{in_main_loop, null};

async fn first_byte(request: Request<'_>) -> Result<u8, IoError> {
    let mut buffer = Buffer::zeroed(512);
    let read = request.read(0, buffer.destination());
    read.await?;
    let first = buffer.as_slice()[0];
    Ok(first)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let counted = Activity::try_begin(node.io()).expect("not quiesced");
        assert_eq!(bql.block_on(first_byte(counted.request()))?, 0);
        Ok(())
    });
}
