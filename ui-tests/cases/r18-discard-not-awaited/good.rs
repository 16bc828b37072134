//! Twin of bad.rs: it is awaited.

#![deny(unused_must_use)]

use block_gs::BqlGuard;
use block_io::{Activity, IoError, Request, WriteFlags};
use ui_tests::{in_main_loop, null};

async fn wipe(request: Request<'_>) -> Result<(), IoError> {
    request.write_zeroes(0, 512, WriteFlags::empty()).await?;
    request.discard(512, 512).await?;
    Ok(())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let counted = Activity::try_begin(node.io()).expect("not quiesced");
        bql.block_on(wipe(counted.request()))?;
        Ok(())
    });
}
