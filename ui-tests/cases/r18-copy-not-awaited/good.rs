//! Twin of bad.rs: it is awaited, and copied by hand where the host cannot.

#![deny(unused_must_use)]

use block_gs::BqlGuard;
use block_io::{Activity, CopyEnd, IoError, Request, WriteFlags};
use ui_tests::{in_main_loop, null};

async fn copy(request: Request<'_>, to: CopyEnd<'_>) -> Result<bool, IoError> {
    match request.copy_range(0, to, 512, WriteFlags::empty()).await {
        Err(IoError::NotSupported) => Ok(false),
        result => result.map(|()| true),
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let counted = Activity::try_begin(node.io()).expect("not quiesced");
        let (request, offset) = (counted.request(), 512);
        bql.block_on(copy(request, CopyEnd { request, offset }))?;
        Ok(())
    });
}
