//! Rule R10: A node is not read through its handle.
//! QEMU: None recorded. bdrv_co_pread() takes the child; that somebody above is counted is
//! assumed.
//! Shape: receiver.
//! Why: I/O functions are methods of `Request`, which is counted while it lasts.

use block_gs::BqlGuard;
use block_io::Buffer;
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let mut buffer = Buffer::zeroed(512);
        let read = async { node.io().read(0, buffer.destination()).await };
        //~^ E0277 "I/O takes a counted `Request`, and `IoNode` is none"
        bql.block_on(read)?;
        assert_eq!(node.io().in_flight(), 0);
        Ok(())
    });
}
