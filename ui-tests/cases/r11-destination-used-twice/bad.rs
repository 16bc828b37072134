//! Rule R11: A driver does not give away a destination that it has given to its child.
//! QEMU: None recorded. An I/O vector is a list of pointers, and can be passed on any number
//! of times.
//! Shape: order.
//! Why: A `Destination` is not `Copy`; whoever may write to memory is the only one.

use block_gs::BqlGuard;
use block_io::{Activity, Buffer, Destination, IoError, Request};
use ui_tests::{in_main_loop, null};

async fn read(request: Request<'_>, mut buffer: Destination<'_>) -> Result<(), IoError> {
    if request.read(0, buffer).await.is_ok() {
        buffer.fill(7);
        //~^ E0382 "borrow of moved value: `buffer`"
    }
    Ok(())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let counted = Activity::try_begin(node.io()).expect("not quiesced");
        let mut memory = Buffer::zeroed(512);
        bql.block_on(read(counted.request(), memory.destination()))?;
        assert_eq!(memory.as_slice()[0], 7);
        Ok(())
    });
}
