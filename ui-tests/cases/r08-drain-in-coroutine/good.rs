//! Twin of bad.rs: the coroutine asks the main loop for the section, and awaits it.

use block_gs::{BqlGuard, MainLoop, Node};
use ui_tests::{in_main_loop, iothread, null};

async fn commit_active_start(node: Node, main: MainLoop) -> u32 {
    let count = node.drained_by(&main, |section| {
        section.node().view(section).quiesce_count()
    });
    count.await.expect("the main loop")
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let coroutine = commit_active_start(null(bql, "node"), bql.main_loop());
        let coroutine = iothread(bql, "io0").context().spawn(coroutine);
        assert_eq!(bql.block_on(coroutine), 1);
        Ok(())
    });
}
