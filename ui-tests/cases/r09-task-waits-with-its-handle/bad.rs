//! Rule R9: A task does not wait for another one by blocking.
//! QEMU: None recorded. That a coroutine does not poll for another one is asserted.
//! Shape: async.
//! Why: A `JoinHandle` is awaited; it is none of the two proofs.

use block_gs::{Backend, BqlGuard};
use block_io::aio::JoinHandle;
use ui_tests::{SIZE, disk, in_main_loop, iothread, null};

async fn length_after(mut before: JoinHandle<u64>, disk: Backend) -> u64 {
    disk.length_blocking(&mut before).expect("a length")
    //~^ E0277 "waiting for I/O needs a proof of the main thread or of the home thread"
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let (disk, io0) = (disk(bql, "disk", &node), iothread(bql, "io0"));
        let root = disk.root().clone();
        let before = io0
            .context()
            .spawn(async move { root.length().await.expect("a length") });
        let length = io0.context().spawn(length_after(before, disk));
        assert_eq!(bql.block_on(length), SIZE);
        Ok(())
    });
}
