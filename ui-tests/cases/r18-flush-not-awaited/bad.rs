//! Rule R18: A flush that is not awaited is not taken for one.
//! QEMU: None recorded. The result of a function can be ignored in C.
//! Shape: async.
//! Why: The future is `must_use`, with words of its own.

#![deny(unused_must_use)]
use block_gs::BqlGuard;
use block_io::{Activity, Buffer, IoError, Request};
use ui_tests::{in_main_loop, null};

async fn write_zeroes_and_flush(request: Request<'_>) -> Result<(), IoError> {
    request.write(0, Buffer::zeroed(512).source()).await?;
    request.flush();
    //~^ "a request does nothing until it is awaited, and its result must be looked at"
    Ok(())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let counted = Activity::try_begin(node.io()).expect("not quiesced");
        bql.block_on(write_zeroes_and_flush(counted.request()))?;
        Ok(())
    });
}
