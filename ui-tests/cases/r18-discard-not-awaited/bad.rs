//! Rule R18: A discard and a write of zeroes do nothing until they are awaited.
//! QEMU: None recorded. The result of a function can be ignored in C.
//! Shape: unused.
//! Why: All operations return the same future, which is `must_use`.

#![deny(unused_must_use)]

use block_gs::BqlGuard;
use block_io::{Activity, IoError, Request, WriteFlags};
use ui_tests::{in_main_loop, null};

async fn wipe(request: Request<'_>) -> Result<(), IoError> {
    request.write_zeroes(0, 512, WriteFlags::empty()).await?;
    request.discard(512, 512);
    //~^ "a request does nothing until it is awaited, and its result must be looked at"
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
