//! Rule R11: The bytes of a read are not looked at before it has ended.
//! QEMU: None recorded. A buffer is a pointer, and C does not ask who writes to it.
//! Shape: order.
//! Why: The destination borrows the buffer exclusively until the read has been awaited.

use block_gs::BqlGuard;
use block_io::{Activity, Buffer, IoError, Request};
use ui_tests::{in_main_loop, null};

async fn first_byte(request: Request<'_>) -> Result<u8, IoError> {
    let mut buffer = Buffer::zeroed(512);
    let read = request.read(0, buffer.destination());
    let first = buffer.as_slice()[0];
    //~^ E0502 "cannot borrow `buffer` as immutable because it is also borrowed as mutable"
    read.await?;
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
