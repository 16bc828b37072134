//! Twin of bad.rs: the handle is asked to run a function, which gets the guard.

use block_gs::{BqlGuard, MainLoop, nodes};
use std::sync::Arc;
use ui_tests::{in_main_loop, iothread, null};

struct Device {
    main: MainLoop,
}

impl Device {
    async fn media_count(self: Arc<Self>) -> usize {
        let count = self.main.call(|bql| nodes(bql).count());
        count.await.expect("the main loop")
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (_node, main) = (null(bql, "node"), bql.main_loop());
        let count = Arc::new(Device { main }).media_count();
        let count = iothread(bql, "io0").context().spawn(count);
        assert_eq!(bql.block_on(count), 1);
        Ok(())
    });
}
