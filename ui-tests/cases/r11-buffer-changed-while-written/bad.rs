//! Rule R11: The bytes of a write do not change before it has ended.
//! QEMU: None recorded. A guest may change them, and the device must not.
//! Shape: order.
//! Why: The source borrows the buffer until the write has been awaited.

use block_gs::BqlGuard;
use block_io::{Activity, Buffer, IoError, Request};
use ui_tests::{in_main_loop, null};

async fn write_twice(request: Request<'_>) -> Result<(), IoError> {
    let mut buffer = Buffer::zeroed(512);
    let write = request.write(0, buffer.source());
    buffer.as_mut_slice().fill(1);
    //~^ E0502 "cannot borrow `buffer` as mutable because it is also borrowed as immutable"
    write.await?;
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
