//! Rule R1: A task that keeps operations blocked does not unblock them itself.
//! QEMU: None recorded. bdrv_op_unblock_all() asserts that it is in the main thread.
//! Shape: receiver.
//! Why: `unblock` takes the proof; an `OpBlock` may be dropped anywhere, and ends in the main
//! loop.

use block_gs::{BqlGuard, MainLoop, OpBlock, Operations};
use ui_tests::{in_main_loop, iothread, null};

async fn job(block: OpBlock, main: MainLoop) -> bool {
    block.unblock();
    //~^ E0061 "argument #1 of type `&mut BqlGuard` is missing"
    main.call(|_| ()).await.is_ok()
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let block = node.block_operations(bql, Operations::all(), "a job runs");
        let done = job(block, bql.main_loop());
        let done = iothread(bql, "io0").context().spawn(done);
        assert!(bql.block_on(done));
        node.view(bql).check_operations(Operations::RESIZE)?;
        Ok(())
    });
}
