//! Rule R11: What is being written out of a destination is not filled meanwhile.
//! QEMU: None recorded. Copy-on-read writes out of the buffer that the guest reads into.
//! Shape: order.
//! Why: `as_source` borrows the destination exclusively until the write has been awaited.

use block_gs::BqlGuard;
use block_io::{Activity, Buffer, Destination, IoError, Request};
use ui_tests::{in_main_loop, null};

async fn keep(request: Request<'_>, mut buffer: Destination<'_>) -> Result<(), IoError> {
    let write = request.write(0, buffer.as_source());
    buffer.fill(0);
    //~^ E0499 "cannot borrow `buffer` as mutable more than once at a time"
    write.await
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let counted = Activity::try_begin(node.io()).expect("not quiesced");
        let mut memory = Buffer::zeroed(512);
        bql.block_on(keep(counted.request(), memory.destination()))?;
        Ok(())
    });
}
