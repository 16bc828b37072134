//! Rule R11: A request does not end while another thread goes on with it.
//! QEMU: None recorded. blk_dec_in_flight() does not know what is still being used.
//! Shape: thread.
//! Why: The thread borrows the request, and ending it takes the count by value.

use block_gs::BqlGuard;
use std::thread;
use ui_tests::{disk, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let in_flight = disk.root().try_begin().expect("not quiesced");
        let request = in_flight.request()?;
        let name = thread::scope(|scope| {
            //~^ E0505 "cannot move out of `in_flight` because it is borrowed"
            let third = scope.spawn(move || request.node().name().to_owned());
            drop(in_flight);
            third.join().expect("no panic")
        });
        assert_eq!(name, "node");
        Ok(())
    });
}
