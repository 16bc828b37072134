//! Rule R11: A part of a request does not go on in a task of its own.
//! QEMU: None recorded. A coroutine may start another one, and no drain waits for that.
//! Shape: async.
//! Why: A task must own what it uses, and a `Request` is borrowed.

use block_gs::BqlGuard;
use ui_tests::{SIZE, disk, in_main_loop, iothread, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let (disk, io0) = (disk(bql, "disk", &node), iothread(bql, "io0"));
        let root = disk.root().clone();
        let in_flight = root.try_begin().expect("not quiesced");
        let request = in_flight.request()?;
        //~^ E0597 "`in_flight` does not live long enough"
        //~^^^ E0597 "`root` does not live long enough"
        let prefetch = io0
            .context()
            .spawn(async move { request.refresh_length().await });
        assert_eq!(bql.block_on(prefetch)?, SIZE);
        Ok(())
    });
}
