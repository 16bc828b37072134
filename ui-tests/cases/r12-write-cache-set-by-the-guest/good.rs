//! Twin of bad.rs: the main loop is asked.

use block_gs::{Backend, BqlGuard, MainLoop};
use ui_tests::{disk, in_main_loop, iothread, null};

async fn mode_select(disk: Backend, main: MainLoop) -> bool {
    let root = disk.root().clone();
    let set = main.call(move |bql| disk.set_write_cache(bql, true));
    set.await.expect("the main loop");
    root.has_write_cache()
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let set = mode_select(disk(bql, "disk", &node), bql.main_loop());
        let set = iothread(bql, "io0").context().spawn(set);
        assert!(bql.block_on(set));
        Ok(())
    });
}
