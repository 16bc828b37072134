//! Rule R18: The outcome of what another thread does is not ignored.
//! QEMU: None recorded. The result of a coroutine is wherever its caller has put it.
//! Shape: thread.
//! Why: A `JoinHandle` is `must_use`; who does not want the outcome says `detach`.

#![deny(unused_must_use)]

use block_gs::BqlGuard;
use ui_tests::{disk, in_main_loop, iothread, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let (disk, io0) = (disk(bql, "disk", &node), iothread(bql, "io0"));
        let root = disk.root().clone();
        io0.context().spawn(async move { root.flush().await });
        //~^ "dropping the handle detaches the task; await it for its result"
        Ok(())
    });
}
