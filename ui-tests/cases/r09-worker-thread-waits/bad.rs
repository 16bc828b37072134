//! Rule R9: What runs in a worker thread does not wait for I/O.
//! QEMU: V030, V130, BDRV_POLL_WHILE() in a third thread.
//! Shape: closure.
//! Why: The work gets no proof, and a context is none.

use block_gs::BqlGuard;
use block_io::aio::run_blocking;
use ui_tests::{SIZE, disk, in_main_loop, iothread, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, io0) = (null(bql, "node"), iothread(bql, "io0"));
        let disk = disk(bql, "disk", &node);
        disk.set_iothread(bql, Some(&io0))?;
        let mut context = io0.context().clone();
        let length = bql.block_on(run_blocking(move || disk.length_blocking(&mut context)));
        //~^ E0277 "waiting for I/O needs a proof of the main thread or of the home thread"
        assert_eq!(length?, SIZE);
        Ok(())
    });
}
