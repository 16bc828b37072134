//! Rule R11: Two reads do not go into one buffer at the same time.
//! QEMU: None recorded. An I/O vector is a list of pointers.
//! Shape: argument.
//! Why: Each destination borrows the buffer exclusively; parts of one are split off it.

use block_gs::BqlGuard;
use block_io::{Activity, Buffer, IoError, Request};
use ui_tests::{in_main_loop, null};

async fn read_both(request: Request<'_>) -> Result<Buffer, IoError> {
    let mut buffer = Buffer::zeroed(1024);
    let first = request.read(0, buffer.destination());
    let second = request.read(512, buffer.destination());
    //~^ E0499 "cannot borrow `buffer` as mutable more than once at a time"
    first.await?;
    second.await?;
    Ok(buffer)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let counted = Activity::try_begin(node.io()).expect("not quiesced");
        let buffer = bql.block_on(read_both(counted.request()))?;
        assert_eq!(buffer.as_slice()[1023], 0);
        Ok(())
    });
}
