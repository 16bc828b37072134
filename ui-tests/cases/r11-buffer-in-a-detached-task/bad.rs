//! Rule R11: A task does not write to a buffer that somebody else owns.
//! QEMU: None recorded. A coroutine may use the stack of whoever created it.
//! Shape: async.
//! Why: A task must own what it uses, and a destination is borrowed.

use block_gs::BqlGuard;
use block_io::{Buffer, IoError};
use ui_tests::{disk, in_main_loop, iothread, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let (disk, io0) = (disk(bql, "disk", &node), iothread(bql, "io0"));
        let root = disk.root().clone();
        let mut buffer = Buffer::zeroed(512);
        let into = buffer.destination();
        //~^ E0597 "`buffer` does not live long enough"
        let read = async move { root.read(0, into).await };
        let read: Result<(), IoError> = bql.block_on(io0.context().spawn(read));
        assert!(read.is_ok());
        Ok(())
    });
}
