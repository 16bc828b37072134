//! Rule R11: A buffer that is a piece of an I/O vector is not looked at while the vector is in
//! use.
//! QEMU: None recorded. An I/O vector is a list of pointers.
//! Shape: order.
//! Why: The vector has the lifetime of its pieces, and each piece borrows its buffer.

use block_gs::BqlGuard;
use block_io::{Activity, Buffer, DestinationVec, IoError, Request};
use ui_tests::{in_main_loop, null};

async fn read(request: Request<'_>) -> Result<u8, IoError> {
    let (mut header, mut buffer) = (Buffer::zeroed(512), Buffer::zeroed(512));
    let mut vector = DestinationVec::new();
    vector.push(header.destination());
    vector.push(buffer.destination());
    let first = buffer.as_slice()[0];
    //~^ E0502 "cannot borrow `buffer` as immutable because it is also borrowed as mutable"
    request.read(0, vector.destination()).await?;
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
