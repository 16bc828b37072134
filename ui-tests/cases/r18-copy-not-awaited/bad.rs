//! Rule R18: A copy that is not awaited has not copied.
//! QEMU: None recorded. The result of a function can be ignored in C.
//! Shape: unused.
//! Why: All operations return the same future, which is `must_use`.

#![deny(unused_must_use)]

use block_gs::BqlGuard;
use block_io::{Activity, CopyEnd, IoError, Request, WriteFlags};
use ui_tests::{in_main_loop, null};

async fn copy(request: Request<'_>, to: CopyEnd<'_>) -> Result<bool, IoError> {
    request.copy_range(0, to, 512, WriteFlags::empty());
    //~^ "a request does nothing until it is awaited, and its result must be looked at"
    Ok(true)
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
