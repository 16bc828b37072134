//! Rule R8: A coroutine cannot drain.
//! QEMU: V079, bdrv_drained_begin() waits for the in-flight count that its own caller holds.
//! Shape: async.
//! Why: Draining polls, which takes `&mut BqlGuard`; a coroutine never has one.

use block_gs::{BqlGuard, MainLoop, Node};
use ui_tests::{in_main_loop, iothread, null};

async fn commit_active_start(node: Node, main: MainLoop) -> u32 {
    let section = node.drain();
    //~^ E0061 "argument #1 of type `&mut BqlGuard` is missing"
    drop(main);
    section.node().view(&section).quiesce_count()
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let coroutine = commit_active_start(null(bql, "node"), bql.main_loop());
        let coroutine = iothread(bql, "io0").context().spawn(coroutine);
        assert_eq!(bql.block_on(coroutine), 1);
        Ok(())
    });
}
