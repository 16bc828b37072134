//! Twin of bad.rs: it is looked at afterwards.

use block_gs::BqlGuard;
use block_io::{Activity, Buffer, DestinationVec, IoError, Request};
use ui_tests::{in_main_loop, null};

async fn read(request: Request<'_>) -> Result<u8, IoError> {
    let (mut header, mut buffer) = (Buffer::zeroed(512), Buffer::zeroed(512));
    let mut vector = DestinationVec::new();
    vector.push(header.destination());
    vector.push(buffer.destination());
    request.read(0, vector.destination()).await?;
    let first = buffer.as_slice()[0];
    Ok(first)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let counted = Activity::try_begin(node.io()).expect("not quiesced");
        assert_eq!(bql.block_on(read(counted.request()))?, 0);
        Ok(())
    });
}
