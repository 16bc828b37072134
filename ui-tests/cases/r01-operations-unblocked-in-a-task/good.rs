//! Twin of bad.rs: the task gives the block back to the main loop.

use block_gs::{BqlGuard, MainLoop, OpBlock, Operations};
use ui_tests::{in_main_loop, iothread, null};

async fn job(block: OpBlock, main: MainLoop) -> bool {
    let unblocked = main.call(|bql| block.unblock(bql));
    unblocked.await.is_ok()
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
