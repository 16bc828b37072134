//! Rule R11: A read does not outlive the buffer that it fills.
//! QEMU: None recorded. qemu_vfree() does not know who still writes to the memory.
//! Shape: return.
//! Why: The future borrows the buffer, which the function owns.

use block_gs::BqlGuard;
use block_io::{Activity, Buffer, IoFuture, Request};
use ui_tests::{in_main_loop, null};

fn prefetch(request: Request<'_>) -> IoFuture<'_> {
    let mut buffer = Buffer::zeroed(512);
    request.read(0, buffer.destination())
    //~^ E0515 "cannot return value referencing local variable `buffer`"
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let counted = Activity::try_begin(node.io()).expect("not quiesced");
        bql.block_on(prefetch(counted.request()))?;
        Ok(())
    });
}
